"""Losses on soft targets. Pure functions of logits and targets."""

from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of −Σ_k q_k log softmax(logits)_k, a scalar; computed in float32 or wider.

    The outer loss of PGD adversarial training (Madry et al. 2018, equation 2.1) when the logits are those of
    adversarial images. The targets carry no gradient.

    Args:
        logits: (B, K), float.
        targets: (B, K), float probabilities.
    """
    logits = logits if logits.dtype.itemsize >= 4 else logits.float()
    return functional.cross_entropy(logits, targets.detach().to(logits.dtype))
