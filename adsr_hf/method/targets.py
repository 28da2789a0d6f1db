"""Training labels as distributions over classes: one-hot, smoothed, or rectified by a teacher. Pure functions."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class RectifiedLabels:
    """Labels that a teacher softened.

    Attributes:
        targets: (B, K), float32, rows sum to 1, no gradient.
        interpolation: (B,), float32, in [0, 1]: each image's own weight λ_i of the teacher.
        tempered: (B, K), float32: the teacher's probabilities at the temperature that was used.
    """

    targets: Tensor
    interpolation: Tensor
    tempered: Tensor


def one_hot_labels(labels: Tensor, num_classes: int) -> Tensor:
    """(B,) int64 class indices to (B, K) float32 probabilities."""
    return functional.one_hot(labels, num_classes).float()


def smooth_labels(labels: Tensor, num_classes: int, *, smoothing: float) -> Tensor:
    """Uniform label smoothing (Szegedy et al. 2016, section 7): (1 − s) · onehot + s / K, shape (B, K), float32.

    Args:
        labels: (B,) int64 class indices.
        smoothing: s, in [0, 1).

    Example:
        >>> import torch
        >>> smooth_labels(torch.tensor([1]), 4, smoothing=0.1)
        tensor([[0.0250, 0.9250, 0.0250, 0.0250]])
    """
    return one_hot_labels(labels, num_classes) * (1 - smoothing) + smoothing / num_classes


@torch.no_grad()
def rectify(teacher_logits: Tensor, labels: Tensor, *, temperature: float, interpolation: float) -> RectifiedLabels:
    """Rectified labels with what they were made of; see :func:`rectify_labels`."""
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be positive")
    if not 0 <= interpolation <= 1:
        raise ValueError(f"interpolation={interpolation} must lie in [0, 1]")
    if teacher_logits.ndim != 2 or labels.shape != teacher_logits.shape[:1]:
        raise ValueError(
            f"teacher_logits must be (B, K) and labels (B,), got {tuple(teacher_logits.shape)} "
            f"and {tuple(labels.shape)}"
        )
    tempered = functional.softmax(teacher_logits.float() / temperature, dim=1)
    true_probability = tempered.gather(1, labels[:, None]).squeeze(1)
    image_interpolation = (interpolation - (tempered.amax(1) - true_probability)).clamp(0, 1)
    weight = image_interpolation[:, None]
    targets = weight * tempered + (1 - weight) * one_hot_labels(labels, teacher_logits.shape[1])
    return RectifiedLabels(targets=targets, interpolation=image_interpolation, tempered=tempered)


def rectify_labels(teacher_logits: Tensor, labels: Tensor, *, temperature: float, interpolation: float) -> Tensor:
    """Annealed self-distilled labels, (B, K), float32, rows summing to 1.

    Wu et al., ICLR 2024 (arXiv 2305.12118), equations 4 to 6: with p = softmax(teacher_logits / τ),
    λ_i = clip(λ − (max_k p_k − p_y), 0, 1) and q = λ_i · p + (1 − λ_i) · onehot(y). The true class is never less
    probable than another: where the teacher's top class k is not y, q_y − q_k = (1 − λ) + (p_k − p_y)(1 − λ_i) ≥ 0,
    and 1 where λ_i is cut off at 0.

    Args:
        teacher_logits: (B, K), float: the teacher's logits on the clean images.
        labels: (B,) int64 class indices.
        temperature: τ, above 0.
        interpolation: λ, in [0, 1].

    Raises:
        ValueError: when a value or a shape is not allowed.

    Example:
        >>> import torch
        >>> unsure, labels = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1])
        >>> rectify_labels(unsure, labels, temperature=1.0, interpolation=0.9)
        tensor([[0.3190, 0.6379, 0.0432]])
    """
    return rectify(teacher_logits, labels, temperature=temperature, interpolation=interpolation).targets
