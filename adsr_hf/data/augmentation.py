"""Random crop and flip whose randomness is a function of (seed, epoch, index) alone.

Nothing is drawn from a generator, so that a resumed run repeats it, in any batch, order, worker or process.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_WORD = 2**64 - 1
_DRAW_BITS = np.uint64(24)
_DRAW_MASK = np.uint64(2**24 - 1)


@dataclass(frozen=True)
class CropAndFlip:
    """Which augmentation is on.

    Args:
        padding: black pixels around the image before a crop to its old size; 0 = no crop.
        horizontal_flip: mirror half of the images.
    """

    padding: int = 4
    horizontal_flip: bool = True


def crop_and_flip(
    images: Tensor, indices: Sequence[int] | Tensor, *, padding: int, flip: bool, seed: int, epoch: int
) -> Tensor:
    """Shift each image by up to ``padding`` pixels, black coming in, and mirror half of them.

    The augmentation of Wu et al. (ICLR 2024, section 4.1). Crops are uniform over the (2 · padding + 1)² places.

    Args:
        images: (B, C, H, W), uint8.
        indices: (B,) place of each image in its data set.
        seed, epoch: any integers.

    Returns:
        (B, C, H, W), uint8.
    """
    bits = _hash(seed, epoch, np.asarray(indices, dtype=np.int64))
    if padding > 0:
        places = np.uint64(2 * padding + 1)
        top = ((bits & _DRAW_MASK) * places) >> _DRAW_BITS
        left = (((bits >> _DRAW_BITS) & _DRAW_MASK) * places) >> _DRAW_BITS
        images = _crop(images, top.astype(np.int64), left.astype(np.int64), padding)
    if flip:
        mirrored = torch.from_numpy((bits >> np.uint64(63)).astype(bool))
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def _crop(images: Tensor, top: np.ndarray, left: np.ndarray, padding: int) -> Tensor:
    height, width = images.shape[2:]
    padded = functional.pad(images, (padding, padding, padding, padding)).numpy()
    # A view of every possible crop, of which indexing copies one for each image: half the time of torch's gather.
    crops = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    return torch.from_numpy(crops[np.arange(len(images)), :, top, left])


def _hash(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """64 random bits for each index, (B,) uint64: SplitMix64's finaliser over the three numbers in turn."""
    state = np.zeros(len(indices), dtype=np.uint64)
    for number in (np.uint64(seed & _WORD), np.uint64(epoch & _WORD), indices.astype(np.uint64)):
        state = _mix(state ^ number)
    return state


def _mix(words: np.ndarray) -> np.ndarray:
    """Steele, Lea & Flood, *Fast Splittable Pseudorandom Number Generators* (OOPSLA 2014), with its increment."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
