"""A figure with its 95% interval: Wilson for shares of images, bootstrap over images for the rest."""

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from adsr_hf.evaluation.accuracy import wilson_interval
from adsr_hf.evaluation.calibration import ASSIGNMENTS
from adsr_hf.evaluation.statistics import bootstrap_interval, percentile_interval, resampling_weights

BINS = 15
FigureEntry = dict[str, Any]


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
            hits: (N,), 0 or 1.
        """
        return self._entry(float(hits.mean()), wilson_interval(int(hits.sum()), self.images))

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
        confidence, prediction = probabilities.max(1)
        gap = confidence - (prediction == targets).double()
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

    def _gaps(self, parts: list[tuple[torch.Tensor, torch.Tensor]], binning: str) -> FigureEntry:
        """Mean over the parts of a binned gap; a part is (what the images are sorted by, their gaps)."""
        value, replicates = 0.0, np.zeros(len(self._weights))
        for scores, gap in parts:
            edges, index = ASSIGNMENTS[binning](scores.contiguous(), BINS)
            in_bins = np.zeros((self.images, len(edges) - 1), dtype=np.float32)
            in_bins[np.arange(self.images), index.numpy()] = gap.numpy()
            exact = np.bincount(index.numpy(), weights=gap.numpy(), minlength=len(edges) - 1)
            value += math.fsum(np.abs(exact)) / self.images
            replicates += np.abs(self._weights @ in_bins).sum(axis=1) / self.images
        return self._entry(value / len(parts), percentile_interval(replicates / len(parts)))

    def _entry(self, value: float, interval: tuple[float, float]) -> FigureEntry:
        # Binned gaps are biased upwards in resamples, so that the interval may lie beside the value; it is widened.
        low, high = min(interval[0], value), max(interval[1], value)
        return {"value": value, "interval": [low, high], "images": self.images}
