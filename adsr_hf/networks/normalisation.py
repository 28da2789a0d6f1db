"""Whether inputs were normalised as the processor says, judged by the first images.

Values outside [0, 1] are impossible and always refused (see :meth:`PixelSpace.recover`). What is left are inputs that
fill too small a part of [0, 1], where every radius would be too large by the same factor. Eight-bit images carry a
proof: under the right map, and hardly under another, their pixels are multiples of 1/255.
"""

import warnings

import torch
from torch import Tensor
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from adsr_hf.networks.pixels import PIXEL_TOLERANCE, PixelSpace

# How images are normalised in practice: what inputs are compared with where they do not fit the processor.
COMMON_SPACES = {
    "not normalised at all (pixels in [0, 1])": PixelSpace((0.0,), (1.0,)),
    "normalised by mean 0.5 and std 0.5": PixelSpace(tuple(IMAGENET_STANDARD_MEAN), tuple(IMAGENET_STANDARD_STD)),
    "normalised by ImageNet's mean and std": PixelSpace(tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD)),
    "normalised by CLIP's mean and std": PixelSpace(tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD)),
    "normalised by CIFAR-10's mean and std": PixelSpace((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "normalised by CIFAR-10's mean and a std of 0.20": PixelSpace((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "normalised by CIFAR-100's mean and std": PixelSpace((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}

# Images that are looked at; and how many make it unlikely that none has a dark, or none a bright pixel.
LOOKED_AT = 64
_MANY = 32
# A range of many images is suspicious above the first, below the second, or narrower than the third.
_DARK, _BRIGHT, _WIDTH = 0.4, 0.6, 0.5
# A pixel is on the grid when it is this close to a multiple of 1/255, in grey levels; by chance 1 in 25 is.
_OFF_GRID = 0.02
# Of the pixels, to tell "on the grid" from "not"; interpolated images are near 1/25.
_MOST, _FEW = 0.99, 0.75
# Grey levels that must be seen, since a handful may be on a grid by chance.
_LEVELS = 12


class NormalisationCheck:
    """Looks at the first images of a data set and refuses those that were normalised in another way.

    Args:
        pixel_space: how they should have been normalised.
    """

    def __init__(self, pixel_space: PixelSpace) -> None:
        self._space = pixel_space
        self._images = 0
        self._low, self._high = float("inf"), float("-inf")
        self._on_grid = True

    def look(self, pixel_values: Tensor) -> None:
        """Judge one batch; after the first images nothing is done.

        Args:
            pixel_values: (B, C, H, W), as the model takes them, which :meth:`PixelSpace.recover` has accepted.

        Raises:
            ValueError: when they lie on the grid of eight-bit images under another common normalisation and not
                under this one, or were divided by 255 twice.

        Warns:
            UserWarning: when many images, which are on no grid, have no dark or no bright pixel, or little contrast.
        """
        if self._images >= LOOKED_AT or not len(pixel_values):
            return
        values = pixel_values[: LOOKED_AT - self._images]
        pixels = self._space.to_pixels(values)
        earlier, self._images = self._images, self._images + len(values)
        low, high = torch.stack(torch.aminmax(pixels)).tolist()
        self._low, self._high = min(self._low, low), max(self._high, high)
        if not values.is_floating_point() or torch.finfo(values.dtype).eps > torch.finfo(torch.float32).eps:
            # Integers are grey levels; coarse floats show no grid.
            self._on_grid &= not values.is_floating_point()
        else:
            on_grid = _share_on_grid(pixels)
            self._on_grid &= on_grid >= _MOST
            if on_grid < _FEW:
                self._refuse_another_grid(values)
        if earlier < _MANY <= self._images:
            self._warn_of_range()

    def _refuse_another_grid(self, values: Tensor) -> None:
        twice = PixelSpace(self._space.mean, self._space.std, self._space.scale / 255)
        for how, space in {"divided by 255 twice": twice, **COMMON_SPACES}.items():
            if max(len(space.mean), len(space.std)) not in (1, values.shape[1]):
                continue
            pixels = space.to_pixels(values)
            low, high = torch.stack(torch.aminmax(pixels)).tolist()
            fits = low >= -PIXEL_TOLERANCE and high <= 1 + PIXEL_TOLERANCE
            if fits and _share_on_grid(pixels) >= _MOST and len((pixels * 255).round().unique()) >= _LEVELS:
                raise ValueError(
                    f"pixel_values do not match the processor's normalisation: they are {how}, while the processor "
                    f"has mean={self._space.mean}, std={self._space.std} and scale={self._space.scale:g}, under which "
                    f"they would stand for pixels from {self._low:.3f} to {self._high:.3f} between the 256 grey "
                    "levels, and every epsilon for another one. Prepare the images with the same processor that you "
                    "pass as processing_class, or pass the pixel_space=PixelSpace(mean, std) that your transform "
                    "really uses"
                )

    def _warn_of_range(self) -> None:
        wide = self._low < _DARK and self._high > _BRIGHT and self._high - self._low >= _WIDTH
        if self._on_grid or wide:
            return
        warnings.warn(
            f"the first {self._images} images have pixels from {self._low:.3f} to {self._high:.3f} alone, with mean="
            f"{self._space.mean}, std={self._space.std} and scale={self._space.scale:g}, and lie on no grid of grey "
            "levels; if they are not that dark, bright or flat, they were normalised in another way and every epsilon "
            "is too large. Look at pixel_space.to_pixels(pixel_values) of one batch",
            UserWarning,
            stacklevel=3,
        )


def _share_on_grid(pixels: Tensor) -> float:
    """Share of the pixels strictly inside (0, 1) that are multiples of 1/255; 1 where there are none."""
    levels = pixels * 255
    inside = levels[(levels > _OFF_GRID) & (levels < 255 - _OFF_GRID)]
    if not len(inside):
        return 1.0
    return ((inside - inside.round()).abs() < _OFF_GRID).float().mean().item()
