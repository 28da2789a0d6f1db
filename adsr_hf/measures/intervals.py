"""A figure with its 95% interval: Wilson for shares, bootstrap for means, limits without bias for binned errors."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from adsr_hf.measures.debiased_calibration import DebiasedCalibration, Part, confidence_gap
from adsr_hf.measures.statistics import RESAMPLES, bootstrap_interval, resampling_weights, wilson_interval

FigureEntry = dict[str, Any]


def share_entry(successes: int, total: int) -> FigureEntry:
    """A share of images with Wilson's interval.

    Args:
        successes: in [0, total].
        total: at least 1.
    """
    low, high = wilson_interval(successes, total)
    return {"value": successes / total, "interval": [low, high], "images": total}


class Intervals:
    """Figures of one set of images, all means from the same resamples.

    Args:
        images: at least 1.
        seed, resamples: of the bootstrap; without resamples (None) the interval of a mean is None.
    """

    def __init__(self, images: int, seed: int, *, resamples: int | None = RESAMPLES) -> None:
        self.images = images
        self._weights = None if resamples is None else resampling_weights(images, resamples=resamples, seed=seed)

    def share(self, hits: np.ndarray) -> FigureEntry:
        """Share of images that count, with Wilson's interval.

        Args:
            hits: (n,), 0 or 1, of all images or of some.
        """
        return share_entry(int(hits.sum()), len(hits))

    def mean(self, values: np.ndarray) -> FigureEntry:
        """Mean of per-image values, (N,)."""
        value = float(values.mean())
        if self._weights is None:
            return {"value": value, "interval": None, "images": self.images}
        return self._entry(value, bootstrap_interval(values.astype(np.float64), self._weights))

    def calibration(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, FigureEntry]:
        """Every figure of how far confidences can be believed.

        ``ece`` and ``ece_equal_mass`` are Σ_m |Σ_{i in bin m} (confidence_i − right_i)| / N; ``classwise_ece`` (Kull
        et al. 2019, arXiv 1910.12656) is the mean over classes of the same for each class's probability. Such a value
        is biased upwards: ``calibrated_level`` beside it is what a calibrated model would show with as many images and
        these confidences. ``interval`` is of the error without sampling noise, from an estimate without that bias
        (:mod:`adsr_hf.measures.debiased_calibration`), widened to the value where that lies above it.

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
        error = DebiasedCalibration.of(parts, binning=binning)
        return self._entry(error.value, error.interval) | {"calibrated_level": error.calibrated_level}

    def _entry(self, value: float, interval: tuple[float, float]) -> FigureEntry:
        low, high = min(interval[0], value), max(interval[1], value)
        return {"value": value, "interval": [low, high], "images": self.images}
