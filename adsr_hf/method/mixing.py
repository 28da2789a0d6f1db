"""mixup and cutmix of images and their soft targets: pure functions. docs/training.md derives where they stand."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class MixedBatch:
    """B images, each mixed with a partner.

    Attributes:
        pixels: (B, C, H, W), in [0, 1].
        targets: (B, K), rows sum to one.
        share: m, the share of each image's own pixels and target, in [0, 1]; the partner has 1 − m.
    """

    pixels: Tensor
    targets: Tensor
    share: float


def mix_batch(
    pixels: Tensor, targets: Tensor, *, mixup: float, cutmix: float, generator: np.random.Generator
) -> MixedBatch:
    """Mix each image of a batch, and its target, with another image of the batch.

    mixup (Zhang et al., ICLR 2018, arXiv 1710.09412, equation 2) blends: x̃ = m·x_i + (1 − m)·x_j. cutmix (Yun et al.,
    ICCV 2019, arXiv 1905.04899, equations 1 and 2) pastes a box of x_j into x_i; a box that was to cover 1 − m is cut
    off at the image's edge, and m is then the exact share that x_i keeps. Either way q̃ = m·q_i + (1 − m)·q_j. One m
    and one box are drawn for the batch, and j is a random permutation of i. Where both are on, each batch takes one of
    the two with probability 1/2.

    Args:
        pixels: (B, C, H, W), float, in [0, 1]; not changed.
        targets: (B, K), float, rows sum to one: final ones, after rectification; not changed.
        mixup: α of the share's Beta(α, α); 0 = off.
        cutmix: the same for cutmix.
        generator: source of all draws; the batch depends on its state alone.

    Raises:
        ValueError: when neither is on, or one is negative.

    Example:
        >>> pixels, targets = torch.rand(4, 3, 8, 8), torch.eye(4)
        >>> mixed = mix_batch(pixels, targets, mixup=1.0, cutmix=0.0, generator=np.random.default_rng(0))
        >>> mixed.targets.sum(1)
        tensor([1., 1., 1., 1.])
    """
    if min(mixup, cutmix) < 0 or max(mixup, cutmix) == 0:
        raise ValueError(
            f"mixup={mixup:g} and cutmix={cutmix:g} must be at least 0, and one of them above; skip the call where "
            "nothing is to be mixed"
        )
    cuts = generator.random() < 0.5 if mixup > 0 and cutmix > 0 else cutmix > 0
    alpha = cutmix if cuts else mixup
    share = float(generator.beta(alpha, alpha))
    partner = torch.from_numpy(generator.permutation(len(pixels))).to(pixels.device)
    if cuts:
        mixed, share = _paste_box(pixels, pixels[partner], share, generator)
    else:
        # lerp, unlike a sum of products, cannot leave the interval between its ends by a rounding error.
        mixed = pixels[partner].lerp(pixels, share)
    return MixedBatch(mixed, targets[partner].lerp(targets, share), share)


def _paste_box(pixels: Tensor, partners: Tensor, share: float, generator: np.random.Generator) -> tuple[Tensor, float]:
    """A box of ``partners`` in ``pixels``, (B, C, H, W), and the share of ``pixels`` that is left."""
    height, width = pixels.shape[2:]
    top, bottom = _interval(height, share, generator)
    left, right = _interval(width, share, generator)
    mixed = pixels.clone()
    mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _interval(length: int, share: float, generator: np.random.Generator) -> tuple[int, int]:
    """Start and end of a side of the box: √(1 − m) of ``length``, around a uniform place, within [0, length]."""
    size = int(length * math.sqrt(1 - share))
    start = int(generator.integers(length)) - size // 2
    return max(start, 0), min(start + size, length)
