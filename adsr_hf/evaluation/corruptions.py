"""Corruptions of images that a factory's cameras, lamps and belts make, after Hendrycks & Dietterich 2019.

*Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*, arXiv 1903.12261, section 3. How
strong a severity is depends on the image's size, see :mod:`adsr_hf.evaluation.severities`.
"""

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from adsr_hf.attacks.interface import derived_seed
from adsr_hf.evaluation.severities import SEVERITIES, SHIFT, SeverityTable, severity_table

# An image, the strengths for its size, the severity counted from 0, and what draws.
Corruption = Callable[[Tensor, SeverityTable, int, torch.Generator], Tensor]


def corrupt(pixels: Tensor, *, kind: str, severity: int, indices: Sequence[int] | Tensor, seed: int) -> Tensor:
    """A batch of corrupted images, (B, C, H, W), float32, in [0, 1], on the device of ``pixels``.

    What happens to an image is a function of (seed, its index, kind, severity) alone, never of its batch.

    Args:
        pixels: (B, C, H, W), float32, in [0, 1].
        kind: one of :data:`KINDS`.
        severity: 1 (mild) to 5, of the table for images of this size.
        indices: (B,) positions of the images in their data set.
        seed: at least 0.

    Raises:
        ValueError: when an argument is outside what is allowed.
    """
    if kind not in _CORRUPTIONS:
        raise ValueError(f"kind={kind!r} is unknown; choose one of {', '.join(KINDS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity={severity} must be 1 (mild), 2, 3, 4 or 5")
    if pixels.ndim != 4 or len(pixels) != len(indices):
        raise ValueError(f"pixels of shape {tuple(pixels.shape)} need one index an image, got {len(indices)}")
    corruption, table = _CORRUPTIONS[kind], severity_table(*pixels.shape[2:])
    corrupted = []
    for image, index in zip(pixels.float().cpu(), indices, strict=True):
        # The same draw at every severity, so that a severity is more of the same.
        generator = torch.Generator().manual_seed(derived_seed(seed, int(index), kind))
        corrupted.append(corruption(image, table, severity - 1, generator).clamp(0, 1))
    return torch.stack(corrupted).to(pixels.device)


def disk_kernel(radius: float) -> Tensor:
    """A point out of focus: a disk of this radius in pixels, which may be a fraction of one; odd sides, sums to 1."""
    steps = np.linspace(-radius, radius, 65)
    rows, columns = np.meshgrid(steps, steps, indexing="ij")
    inside = rows**2 + columns**2 <= radius**2 * (1 + 1e-9)
    return _kernel(rows[inside], columns[inside], radius)


def line_kernel(length: float, angle: float) -> Tensor:
    """A point that moves while the shutter is open: a line of ``length`` pixels at ``angle``; odd sides, sums to 1."""
    steps = np.linspace(-length / 2, length / 2, 65)
    return _kernel(steps * math.sin(angle), steps * math.cos(angle), length / 2)


def _kernel(rows: np.ndarray, columns: np.ndarray, reach: float) -> Tensor:
    """Points of equal light, each shared out over its four nearest pixels."""
    half = max(1, math.ceil(reach))
    kernel = np.zeros((2 * half + 2, 2 * half + 2))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    for step_down, share_down in ((0, 1 - down), (1, down)):
        for step_right, share_right in ((0, 1 - right), (1, right)):
            np.add.at(kernel, (half + top + step_down, half + left + step_right), share_down * share_right)
    return torch.from_numpy(kernel[:-1, :-1] / kernel.sum()).float()


def _gaussian_noise(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    return image + table.gaussian[level] * torch.randn(image.shape, generator=generator)


def _shot_noise(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    return torch.poisson(image * table.photons[level], generator=generator) / table.photons[level]


def _impulse_noise(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(image.shape, generator=generator)
    share = table.impulses[level]
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn > 1 - share / 2, 1.0, image))


def _defocus_blur(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    return _filter(image, disk_kernel(table.disk[level] * _scale(image, table)))


def _motion_blur(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    angle = float(torch.rand((), generator=generator)) * math.pi
    return _filter(image, line_kernel(table.motion_length(level) * _scale(image, table), angle))


def _brightness_up(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    return image + table.brightness[level]


def _brightness_down(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    return image - table.brightness[level]


def _contrast(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    mean = image.mean(dim=(1, 2), keepdim=True)
    return mean + table.contrast[level] * (image - mean)


def _jpeg(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    values = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(values.squeeze(2) if values.shape[2] == 1 else values).save(
        buffer, format="JPEG", quality=table.jpeg[level]
    )
    decoded = np.asarray(Image.open(buffer), dtype=np.float32).reshape(values.shape) / 255
    return torch.from_numpy(decoded).permute(2, 0, 1)


def _pixel_shift(image: Tensor, table: SeverityTable, level: int, generator: torch.Generator) -> Tensor:
    """By whole pixels in one of eight directions, at least one; the edge is repeated."""
    reach = max(1, round(SHIFT[level] * min(image.shape[1:])))
    directions = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
    down, right = directions[int(torch.randint(len(directions), (), generator=generator))]
    padded = functional.pad(image[None], (reach, reach, reach, reach), mode="replicate")[0]
    height, width = image.shape[1:]
    top, left = reach - down * reach, reach - right * reach
    return padded[:, top : top + height, left : left + width]


def _scale(image: Tensor, table: SeverityTable) -> float:
    """How many of the image's pixels are one of the table's."""
    return min(image.shape[1:]) / table.side


def _filter(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with the kernel; the edge is repeated."""
    half = len(kernel) // 2
    padded = functional.pad(image[:, None], (half, half, half, half), mode="replicate")
    return functional.conv2d(padded, kernel[None, None])[:, 0]


_CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "brightness_up": _brightness_up,
    "brightness_down": _brightness_down,
    "contrast": _contrast,
    "jpeg": _jpeg,
    "pixel_shift": _pixel_shift,
}
KINDS: tuple[str, ...] = tuple(_CORRUPTIONS)
