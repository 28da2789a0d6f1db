"""RandAugment (Cubuk et al., 2020, arXiv 1909.13719), keyed by (seed, epoch, index), without torchvision.

Operations are Pillow's; those for which it loops over tables in Python, at several times the cost, are written anew
with the same results. Ranges are those of the paper's table, reached at the full magnitude of 30.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from adsr_hf.data.keyed_random import pick, random_bits

MAX_MAGNITUDE = 30

_MAX_DEGREES = 30.0
_MAX_SHEAR = 0.3
# 150 px of the 331 px that AutoAugment (Cubuk et al. 2019), which the paper takes its ranges from, was found on.
_MAX_TRANSLATION = 150 / 331
_MAX_ENHANCEMENT = 0.9
_MAX_DROPPED_BITS = 4

# Keeps these draws apart from others under the same keys.
_POLICY_KEY = 0x706F6C696379

Operation = Callable[[np.ndarray, float], np.ndarray]


def _with_pillow(operation: Callable[[Image.Image, float], Image.Image]) -> Operation:
    return lambda pixels, strength: np.asarray(operation(Image.fromarray(pixels), strength))


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Output pixel (x, y) is input pixel (a·x + b·y + c, d·x + e·y + f), the nearest; black comes in."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.NEAREST)


def _contrast(image: Image.Image, strength: float) -> Image.Image:
    mean = int(np.asarray(image.convert("L")).mean() + 0.5)
    return Image.blend(Image.new("RGB", image.size, (mean,) * 3), image, 1 + _MAX_ENHANCEMENT * strength)


def _through_table(pixels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each value (H, W, 3) replaced by its entry in its channel's row of ``table``, (3, 256) uint8."""
    # bytes.translate is the fastest look-up there is for bytes.
    planes = [pixels[..., channel].tobytes().translate(table[channel].tobytes()) for channel in range(3)]
    return np.stack([np.frombuffer(plane, np.uint8).reshape(pixels.shape[:2]) for plane in planes], axis=-1)


def _autocontrast(pixels: np.ndarray, _: float) -> np.ndarray:
    low, high = np.array(Image.fromarray(pixels).getextrema(), dtype=np.float64).T[..., None]
    flat = high <= low
    scale = np.where(flat, 1, 255 / np.where(flat, 1, high - low))
    stretched = np.arange(256) * scale + np.where(flat, 0, -low * scale)
    return _through_table(pixels, stretched.clip(0, 255).astype(np.uint8))


def _equalize(pixels: np.ndarray, _: float) -> np.ndarray:
    image = Image.fromarray(pixels)
    histogram = np.array(image.histogram()).reshape(3, 256)
    brightest = histogram[range(3), [high for _, high in image.getextrema()]]
    step = ((image.width * image.height - brightest) // 255)[:, None]
    below = np.cumsum(histogram, axis=1) - histogram
    spread = np.minimum((step // 2 + below) // np.maximum(step, 1), 255)
    return _through_table(pixels, np.where(step > 0, spread, np.arange(256)).astype(np.uint8))


def _solarize(pixels: np.ndarray, strength: float) -> np.ndarray:
    return np.where(pixels < 256 * (1 - strength), pixels, 255 - pixels)


def _posterize(pixels: np.ndarray, strength: float) -> np.ndarray:
    dropped = round(_MAX_DROPPED_BITS * strength)
    return pixels & np.uint8(256 - 2**dropped)


# Each takes (H, W, 3) uint8 and a strength in [0, 1]; 0 changes nothing, where there is a strength.
UNSIGNED: dict[str, Operation] = {
    "identity": lambda pixels, _: pixels,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
}
# Each takes a strength in [-1, 1], of either sign equally often.
SIGNED: dict[str, Operation] = {
    name: _with_pillow(operation)
    for name, operation in {
        "rotate": lambda image, s: image.rotate(_MAX_DEGREES * s, resample=Image.Resampling.NEAREST),
        "color": lambda image, s: ImageEnhance.Color(image).enhance(1 + _MAX_ENHANCEMENT * s),
        "contrast": _contrast,
        "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + _MAX_ENHANCEMENT * s),
        "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + _MAX_ENHANCEMENT * s),
        "shear_x": lambda image, s: _affine(image, 1, _MAX_SHEAR * s, 0, 0, 1, 0),
        "shear_y": lambda image, s: _affine(image, 1, 0, 0, _MAX_SHEAR * s, 1, 0),
        "translate_x": lambda image, s: _affine(image, 1, 0, _MAX_TRANSLATION * s * image.width, 0, 1, 0),
        "translate_y": lambda image, s: _affine(image, 1, 0, 0, 0, 1, _MAX_TRANSLATION * s * image.height),
    }.items()
}
OPERATIONS = list((UNSIGNED | SIGNED).items())


def apply_policy(
    images: Tensor,
    indices: Sequence[int] | Tensor | np.ndarray,
    *,
    operations: int,
    magnitude: float,
    seed: int,
    epoch: int | np.ndarray,
) -> Tensor:
    """Apply so many operations to each image, one after the other, each drawn from all 14 with equal chance.

    Args:
        images: (B, 3, H, W), uint8.
        indices: (B,) place of each image in its data set.
        operations: N of the paper; 0 leaves the images as they are.
        magnitude: M of the paper, in [0, 30]; 0 leaves the images as they are, although autocontrast and equalize
            have no strength.
        seed: any integer.
        epoch: any integer, or one for each image, (B,) int64.

    Returns:
        (B, 3, H, W), uint8.
    """
    if operations == 0 or magnitude == 0:
        return images
    plans = _draw(np.asarray(indices, dtype=np.int64), operations, seed, epoch)
    strength = magnitude / MAX_MAGNITUDE
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    changed = np.empty_like(pixels)
    for row, plan in enumerate(plans.tolist()):
        image = pixels[row]
        for number, negative in plan:
            name, operation = OPERATIONS[number]
            image = operation(image, -strength if negative and name in SIGNED else strength)
        changed[row] = image
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous()


def _draw(indices: np.ndarray, operations: int, seed: int, epoch: int | np.ndarray) -> np.ndarray:
    """(B, operations, 2) int64: the number of an operation, and whether its strength is negative."""
    slots = [random_bits(seed, epoch, indices, _POLICY_KEY + slot) for slot in range(operations)]
    return np.stack([np.stack([pick(bits, len(OPERATIONS)), pick(bits, 2, shift=24)], axis=1) for bits in slots], 1)
