"""A figure with its 95% interval: Wilson for shares of images, bootstrap over images for the rest."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from adsr_hf.evaluation.accuracy import wilson_interval
from adsr_hf.evaluation.calibration import ASSIGNMENTS
from adsr_hf.evaluation.statistics import bootstrap_interval, percentile_interval, resampling_weights

BINS = 15
FigureEntry = dict[str, Any]


# What images are sorted by, and the quantity whose mean in each bin should be 0: both (N,).
Part = tuple[torch.Tensor, torch.Tensor]


def confidence_gap(logits: np.ndarray, labels: np.ndarray) -> Part:
    """Confidence of each image, and confidence minus 1 if it is right, or minus 0."""
    probabilities = torch.softmax(torch.from_numpy(logits).double(), dim=1)
    confidence, prediction = probabilities.max(1)
    return confidence, confidence - (prediction == torch.from_numpy(labels)).double()


def binned_gap(
    parts: list[Part], weights: NDArray[np.float32], *, binning: str = "equal_width"
) -> tuple[float, NDArray[np.float64]]:
    """Σ over bins of |sum of gaps in the bin| / N, averaged over the parts: (value, (resamples,) replicates).

    Args:
        weights: (resamples, N), from :func:`adsr_hf.evaluation.statistics.resampling_weights`.
    """
    images = weights.shape[1]
    value, replicates = 0.0, np.zeros(len(weights))
    for scores, gap in parts:
        edges, index = ASSIGNMENTS[binning](scores.contiguous(), BINS)
        in_bins = np.zeros((images, len(edges) - 1), dtype=np.float32)
        in_bins[np.arange(images), index.numpy()] = gap.numpy()
        exact = np.bincount(index.numpy(), weights=gap.numpy(), minlength=len(edges) - 1)
        value += math.fsum(np.abs(exact)) / images
        replicates += np.abs(weights @ in_bins).sum(axis=1) / images
    return value / len(parts), replicates / len(parts)


def share_entry(successes: int, total: int) -> FigureEntry:
    """A share of images with Wilson's interval.

    Args:
        successes: in [0, total].
        total: at least 1.
    """
    low, high = wilson_interval(successes, total)
    return {"value": successes / total, "interval": [low, high], "images": total}


class Intervals:
    """Figures of one set of images, all from the same resamples.

    Args:
        images: at least 1.
        seed: of the bootstrap.
    """

    def __init__(self, images: int, seed: int) -> None:
        self.images = images
        self._weights = resampling_weights(images, seed=seed)

    def share(self, hits: np.ndarray) -> FigureEntry:
        """Share of images that count, with Wilson's interval.

        Args:
            hits: (n,), 0 or 1, of all images or of some.
        """
        return share_entry(int(hits.sum()), len(hits))

    def mean(self, values: np.ndarray) -> FigureEntry:
        """Mean of per-image values, (N,)."""
        return self._entry(float(values.mean()), bootstrap_interval(values.astype(np.float64), self._weights))

    def calibration(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, FigureEntry]:
        """Every figure of how far confidences can be believed.

        ``ece`` and ``ece_equal_mass`` are Σ_m |Σ_{i in bin m} (confidence_i − right_i)| / N; ``classwise_ece`` (Kull
        et al. 2019, arXiv 1910.12656) is the mean over classes of the same for each class's probability. Resamples
        keep the bins of the sample.

        Args:
            logits: (N, K), float.
            labels: (N,), int64.
        """
        probabilities = torch.softmax(torch.from_numpy(logits).double(), dim=1)
        targets = torch.from_numpy(labels)
        one_hot = functional.one_hot(targets, probabilities.shape[1]).double()
        confidence, gap = confidence_gap(logits, labels)
        losses = functional.cross_entropy(torch.from_numpy(logits).double(), targets, reduction="none")
        return {
            "ece": self._gaps([(confidence, gap)], "equal_width"),
            "ece_equal_mass": self._gaps([(confidence, gap)], "equal_mass"),
            "classwise_ece": self._gaps(
                [(column, column - hit) for column, hit in zip(probabilities.T, one_hot.T, strict=True)],
                "equal_width",
            ),
            "brier_score": self.mean((probabilities - one_hot).square().sum(1).numpy()),
            "negative_log_likelihood": self.mean(losses.numpy()),
            "mean_confidence": self.mean(confidence.numpy()),
        }

    def _gaps(self, parts: list[Part], binning: str) -> FigureEntry:
        value, replicates = binned_gap(parts, self._weights, binning=binning)
        return self._entry(value, percentile_interval(replicates))

    def _entry(self, value: float, interval: tuple[float, float]) -> FigureEntry:
        # Binned gaps are biased upwards in resamples, so that the interval may lie beside the value; it is widened.
        low, high = min(interval[0], value), max(interval[1], value)
        return {"value": value, "interval": [low, high], "images": self.images}
