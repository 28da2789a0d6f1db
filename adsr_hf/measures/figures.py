"""The figures of one set of predictions: accuracy, calibration, confidence, loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adsr_hf.measures.calibration import expected_calibration_error, mean_confidence, negative_log_likelihood


def prediction_figures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """``accuracy``, ``ece`` (15 equal-width bins), ``mean_confidence`` and ``loss``, every image of equal weight.

    Args:
        logits: (N, K), float: on clean images, or :func:`worst_case_logits`, whose accuracy is the robust one.
        labels: (N,), int64 class indices.

    Example:
        >>> import torch
        >>> figures = prediction_figures(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
        >>> {name: round(value, 3) for name, value in figures.items()}
        {'accuracy': 0.5, 'ece': 0.381, 'mean_confidence': 0.881, 'loss': 1.127}
    """
    right = logits.argmax(1) == labels
    probabilities = torch.softmax(logits.double(), dim=1)
    return {
        "accuracy": right.double().mean().item(),
        "ece": expected_calibration_error(probabilities, labels),
        "mean_confidence": mean_confidence(probabilities),
        "loss": negative_log_likelihood(logits, labels),
    }


def worst_case_logits(clean_logits: Tensor, attacked_logits: Tensor, labels: Tensor) -> Tensor:
    """Logits of the worst image found, (N, K): every figure under attack, in training and in evaluation, is of these.

    An attacker leaves an image alone that is wrong already: it counts with its clean logits. All others count with
    their attacked ones, so that an image is right only if it is right both clean and attacked.

    Args:
        clean_logits, attacked_logits: (N, K), float, of the same images; attacked ones of an image that is wrong when
            clean are not looked at.
        labels: (N,), int64 class indices.

    Example:
        >>> import torch
        >>> clean = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> attacked = torch.tensor([[0.0, 1.0], [3.0, 0.0]])
        >>> worst_case_logits(clean, attacked, torch.tensor([0, 0]))
        tensor([[0., 1.],
                [0., 2.]])
    """
    right = clean_logits.argmax(1) == labels
    return torch.where(right[:, None], attacked_logits, clean_logits)


@dataclass(frozen=True)
class MeasuredLogits:
    """What a network says about some images.

    Attributes:
        clean: (N, K) float.
        attacked: (N, K) float, of the worst images that the evaluation attack found, see
            :func:`worst_case_logits`; None = it was not run.
        labels: (N,) int64.
    """

    clean: Tensor
    attacked: Tensor | None
    labels: Tensor

    def figures(self) -> dict[str, float]:
        """Those of :func:`prediction_figures`, the attacked ones with ``robust_`` before them."""
        figures = prediction_figures(self.clean, self.labels)
        if self.attacked is not None:
            robust = prediction_figures(self.attacked, self.labels)
            figures |= {f"robust_{name}": value for name, value in robust.items()}
        return figures

    def calibration_errors(self) -> dict[str, float]:
        """``ece`` and, where attacked, ``robust_ece``: 15 equal-width bins."""
        return {name: value for name, value in self.figures().items() if name.endswith("ece")}
