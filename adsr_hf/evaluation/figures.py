"""The figures of one set of predictions: accuracy, calibration, confidence, loss."""

import torch
from torch import Tensor

from adsr_hf.evaluation.calibration import expected_calibration_error, mean_confidence, negative_log_likelihood


def clean_figures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """``accuracy``, ``ece`` (15 equal-width bins), ``mean_confidence`` and ``loss``, every image of equal weight.

    Args:
        logits: (N, K), float.
        labels: (N,), int64 class indices.
    """
    right = logits.argmax(1) == labels
    return {"accuracy": right.double().mean().item(), **_confidence_figures(logits, labels)}


def adversarial_figures(adversarial_logits: Tensor, clean_logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The same for attacked images; an image counts as right only if it is right both clean and attacked.

    Args:
        adversarial_logits, clean_logits: (N, K), float, of the same images.
        labels: (N,), int64 class indices.
    """
    right = (adversarial_logits.argmax(1) == labels) & (clean_logits.argmax(1) == labels)
    return {"accuracy": right.double().mean().item(), **_confidence_figures(adversarial_logits, labels)}


def _confidence_figures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    probabilities = torch.softmax(logits.double(), dim=1)
    return {
        "ece": expected_calibration_error(probabilities, labels),
        "mean_confidence": mean_confidence(probabilities),
        "loss": negative_log_likelihood(logits, labels),
    }
