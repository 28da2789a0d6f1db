"""Train augmentation whose randomness is a function of (seed, epoch, index) alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adsr_hf.data.keyed_random import pick, random_bits
from adsr_hf.data.randaugment import apply_policy


@dataclass(frozen=True)
class Augmentation:
    """Which augmentation is on.

    Args:
        padding: black pixels around the image before a crop to its old size; 0 = no crop.
        horizontal_flip: mirror half of the images.
        policy_operations: random operations on each image, after crop and flip; 0 = none.
        policy_magnitude: their strength, in [0, 30]; 0 = none.
    """

    padding: int = 4
    horizontal_flip: bool = True
    policy_operations: int = 0
    policy_magnitude: float = 9.0

    @property
    def is_on(self) -> bool:
        """Whether anything is done to an image."""
        return self.padding > 0 or self.horizontal_flip or (self.policy_operations > 0 and self.policy_magnitude > 0)


def augment(
    images: Tensor,
    indices: Sequence[int] | Tensor | np.ndarray,
    augmentation: Augmentation,
    *,
    seed: int,
    epoch: int | np.ndarray,
) -> Tensor:
    """Crop and flip, then the policy's operations.

    Args:
        images: (B, 3, H, W), uint8.
        indices: (B,) place of each image in its data set.
        seed: any integer.
        epoch: any integer, or one for each image, (B,) int64.

    Returns:
        (B, 3, H, W), uint8.
    """
    images = crop_and_flip(
        images,
        indices,
        padding=augmentation.padding,
        flip=augmentation.horizontal_flip,
        seed=seed,
        epoch=epoch,
    )
    return apply_policy(
        images,
        indices,
        operations=augmentation.policy_operations,
        magnitude=augmentation.policy_magnitude,
        seed=seed,
        epoch=epoch,
    )


def crop_and_flip(
    images: Tensor,
    indices: Sequence[int] | Tensor | np.ndarray,
    *,
    padding: int,
    flip: bool,
    seed: int,
    epoch: int | np.ndarray,
) -> Tensor:
    """Shift each image by up to ``padding`` pixels, black coming in, and mirror half of them.

    The augmentation of Wu et al. (ICLR 2024, section 4.1). Crops are uniform over the (2 · padding + 1)² places.

    Args:
        images: (B, C, H, W), uint8.
        indices, seed, epoch: see :func:`augment`.

    Returns:
        (B, C, H, W), uint8.
    """
    bits = random_bits(seed, epoch, np.asarray(indices, dtype=np.int64))
    if padding > 0:
        top, left = (pick(bits, 2 * padding + 1, shift=shift) for shift in (0, 24))
        images = _crop(images, top, left, padding)
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
