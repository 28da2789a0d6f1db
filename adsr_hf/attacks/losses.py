"""What an attack maximises: one number for each image, never averaged over the batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

AttackLoss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each image, shape (B,).

    Args:
        logits: (B, K), float.
        targets: (B,) int64 class indices, or (B, K) float probabilities; soft targets are used whole.
    """
    return functional.cross_entropy(logits, targets, reduction="none")


def margin(logits: Tensor, targets: Tensor) -> Tensor:
    """Highest wrong logit minus the true one, shape (B,): positive where the image is misclassified.

    The loss of Carlini & Wagner (arXiv 1608.04644, f6) without its confidence floor.

    Args:
        logits: (B, K), float.
        targets: (B,) int64 class indices.

    Raises:
        ValueError: for soft targets, which have no one true class.
    """
    if targets.ndim != 1:
        raise ValueError(
            f"loss='margin' needs class indices of shape (B,), got targets of shape {tuple(targets.shape)}"
        )
    true_logit = logits.gather(1, targets[:, None]).squeeze(1)
    others = logits.masked_fill(functional.one_hot(targets, logits.shape[1]).bool(), -torch.inf)
    return others.amax(1) - true_logit


ATTACK_LOSSES: dict[str, AttackLoss] = {"cross_entropy": cross_entropy, "margin": margin}
