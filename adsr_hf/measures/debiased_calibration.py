"""How much of a binned calibration error is real: the level of a calibrated model, and an estimate without the bias.

The expected calibration error of a sample is a sum of absolute values, so that noise never cancels: a calibrated model
shows an error above 0, the more so the fewer the images. Where something is concluded the mean *squared* gap takes its
place, since the bias of a square is known: it is the variance.

In the formulas below N images lie in bins m with n_m images each, w_m = n_m / N; an image's gap g_i is its confidence
minus 1 if it is right, or minus 0; ḡ_m is the mean gap of a bin, and γ_m its expectation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from adsr_hf.measures.calibration import ASSIGNMENTS
from adsr_hf.measures.statistics import QUANTILE_95

BINS = 15
# In an empty or almost empty bin the variance that the confidences imply counts as so many images.
_PRIOR_IMAGES = 4
# Above it the root of a noncentral chi-square variable is normal for all that matters here.
_LARGE = 2000.0

Array = NDArray[np.float64]
# What images are sorted by, and the quantity whose mean in each bin should be 0: both (N,).
Part = tuple[torch.Tensor, torch.Tensor]


def confidence_gap(logits: np.ndarray, labels: np.ndarray) -> Part:
    """Confidence of each image, and confidence minus 1 if it is right, or minus 0.

    Args:
        logits: (N, K), float.
        labels: (N,), int64.
    """
    probabilities = torch.softmax(torch.from_numpy(logits).double(), dim=1)
    confidence, prediction = probabilities.max(1)
    return confidence, confidence - (prediction == torch.from_numpy(labels)).double()


@dataclass(frozen=True)
class _Bins:
    """The filled bins of one part, (M,) each, and the bin of each image, (N,).

    Attributes:
        variance: of one image's gap, averaged over a bin.
    """

    index: NDArray[np.int64]
    gaps: Array
    count: Array
    score: Array
    gap: Array
    variance: Array


@dataclass(frozen=True)
class DebiasedCalibration:
    """The calibration error on one set of images.

    Q = Σ_m w_m ḡ_m² is what the sample shows. Images are independent, so that E Q = Σ_m w_m γ_m² + Σ_m v_m / N holds
    exactly, for every N, v_m being the mean variance of one image's gap in bin m. Q − Σ_m v_m / N therefore estimates
    the mean squared gap θ = Σ_m w_m γ_m² without bias; with the sample's variances it is the U-statistic
    Σ_m ((Σ g)² − Σ g²) / (N (n_m − 1)) (Kumar et al. 2019, arXiv 1909.10155).

    The central limit theorem makes Q a sum of squared normal variables with weights v_m / N. Its mean and variance are
    those of s χ²(ν, θ / s), a scaled noncentral chi-square variable with s = Σ v² / (N Σ v) and ν = (Σ v)² / Σ v²
    (Patnaik 1949, Biometrika 36; the variance 2 Σ v² / N² + 4 s θ takes all bins' gaps to be alike). The limits of θ
    are where that distribution passes Q. They hold at θ = 0 too, where Q is degenerate: of order 1 / N and far from
    normal, so that intervals by influence functions or by the bootstrap fail there.

    v_m is the larger of what the sample shows and of what the confidences imply, c (1 − c): a bin without an error
    shows none, and would make any gap significant.

    Several parts are averaged: the classes of one model, or the runs of one arm. Where they err independently the
    variance of their mean is smaller by their number, and Q's degrees of freedom are more by it.

    Attributes:
        bins: of each part.
        images: N.
        dependence: 1 where all parts err alike, 0 where each errs by itself: their mean correlation.
    """

    bins: tuple[_Bins, ...]
    images: int
    dependence: float = 1.0

    @classmethod
    def of(cls, parts: Sequence[Part], *, binning: str = "equal_width") -> "DebiasedCalibration":
        """From the scores that images are sorted by, in [0, 1], and their gaps; of several parts, one a class.

        Classes share their images: as a bound they count as fully dependent.

        Args:
            binning: ``"equal_width"`` or ``"equal_mass"``.
        """
        return cls(tuple(_filled_bins(scores, gaps, binning) for scores, gaps in parts), len(parts[0][0]))

    @classmethod
    def of_runs(cls, runs: Sequence["DebiasedCalibration"]) -> "DebiasedCalibration":
        """The mean over runs on the same images, dependent as what each image adds to the runs is correlated."""
        bins = tuple(bin_ for run in runs for bin_ in run.bins)
        return cls(bins, runs[0].images, mean_correlation([run.influence for run in runs]))

    @cached_property
    def value(self) -> float:
        """Σ_m w_m |ḡ_m|, averaged over the parts: the error as the literature has it, biased upwards."""
        return self._mean([float((bin_.count * np.abs(bin_.gap)).sum()) for bin_ in self.bins])

    @cached_property
    def calibrated_level(self) -> float:
        """The expectation of ``value`` at these confidences if every one of them were true.

        The hits of a bin are then binomial (a little less spread, where confidences differ within it), and their mean
        absolute deviation is E|X − np| = 2 (1 − p) k P(X = k) with k = ⌊np⌋ + 1 (de Moivre 1730).
        """
        from scipy.stats import binom

        deviations = []
        for entry in self.bins:
            share = np.clip(entry.score, 0.0, 1.0)
            above = np.minimum(np.floor(entry.count * share) + 1, entry.count)
            deviations.append(float((2 * (1 - share) * above * binom.pmf(above, entry.count, share)).sum()))
        return self._mean(deviations)

    @cached_property
    def root_mean_square(self) -> float:
        """√(Σ_m w_m γ_m²), estimated without the bias of its square; 0 where noise explains all. In [0, 1]."""
        return math.sqrt(max(0.0, self._shown - self._noise(0.0)[2]))

    @cached_property
    def influence(self) -> Array:
        """(N,): what each image adds to the squared error, 2 γ_m g_i − γ_m², for the correlation of two models."""
        gradients = [2 * bin_.gap[bin_.index] * bin_.gaps - bin_.gap[bin_.index] ** 2 for bin_ in self.bins]
        added: Array = np.mean(gradients, axis=0)
        return added

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95% interval of the expected calibration error free of noise, Σ_m w_m |γ_m|.

        It is at most the root mean squared gap (Jensen), so that the upper limit of that one holds. The lower limit is
        scaled by the ratio of both in the sample.
        """
        low, high = self.limits(QUANTILE_95)
        return (low * self.value / math.sqrt(self._shown) if self._shown else 0.0), high

    def limits(self, quantile: float) -> tuple[float, float]:
        """Limits of the root mean squared gap, each missed as often as a normal variable exceeds ``quantile``.

        The upper limit counts ``quantile``² more images of uncertain outcome, as Agresti & Coull 1998 do, the more so
        the further the variance is below its largest, 1/4; and where Q is below its own noise, it is taken to be at
        it, or the limit would be lowest where luck is largest. It never lies below ``root_mean_square``, the lower
        limit never above.
        """
        scale, degrees, noise = self._noise(0.0)
        low = _noncentrality(self._shown / scale, degrees, quantile) * scale if scale else 0.0
        wide_scale, degrees, wide_noise = self._noise(quantile**2 / self.images)
        reached = max((self._shown - noise + wide_noise) / wide_scale, degrees) if wide_scale else 0.0
        high = _noncentrality(reached, degrees, -quantile) * wide_scale
        return min(math.sqrt(low), self.root_mean_square), max(math.sqrt(high), self.root_mean_square)

    @cached_property
    def _shown(self) -> float:
        """Q."""
        return self._mean([float((bin_.count * bin_.gap**2).sum()) for bin_ in self.bins])

    def _noise(self, uncertain: float) -> tuple[float, float, float]:
        """Scale and degrees of freedom of Q's noise, and its expectation Σ v / N."""
        variances = [bin_.variance + uncertain * np.maximum(0.0, 1 - 4 * bin_.variance) for bin_ in self.bins]
        first = self._mean([float(variance.sum()) for variance in variances])
        second = self._mean([math.sqrt(float((variance**2).sum())) for variance in variances]) ** 2
        second *= (1 + (len(variances) - 1) * self.dependence) / len(variances)
        return (second / first, first**2 / second, first) if first else (0.0, 1.0, 0.0)

    def _mean(self, sums: list[float]) -> float:
        return math.fsum(sums) / (len(sums) * self.images)


def mean_correlation(values: Sequence[Array]) -> float:
    """Mean correlation, in [0, 1], of what the same images add to several runs; 1 for one run.

    Args:
        values: (N,) each.
    """
    centred = np.array([value - value.mean() for value in values])
    alone, together = float((centred**2).sum()), float((centred.sum(axis=0) ** 2).sum())
    if len(values) == 1 or alone == 0:
        return 1.0
    return min(1.0, max(0.0, (together - alone) / (alone * (len(values) - 1))))


def _filled_bins(scores: torch.Tensor, gaps: torch.Tensor, binning: str) -> _Bins:
    assigned = ASSIGNMENTS[binning](scores.contiguous(), BINS)[1].numpy()
    filled = np.bincount(assigned) > 0
    # Bins are numbered anew, without the empty ones.
    index = (np.cumsum(filled) - 1)[assigned]
    count = np.bincount(index)
    values, gap_values = scores.double().numpy(), gaps.double().numpy()

    def mean(of_images: Array) -> Array:
        means: Array = np.bincount(index, weights=of_images) / count
        return means

    gap, implied = mean(gap_values), mean(values * (1 - values))
    squares = count * mean((gap_values - gap[index]) ** 2)
    measured = (squares + _PRIOR_IMAGES * implied) / (count - 1 + _PRIOR_IMAGES)
    return _Bins(index, gap_values, count.astype(float), mean(values), gap, np.maximum(measured, implied))


def _noncentrality(reached: float, degrees: float, quantile: float) -> float:
    """The λ with P(χ²(degrees, λ) ≤ reached) = Φ(quantile); 0 where even λ = 0 stays below that."""
    from scipy.special import chdtr, chndtrinc, ndtr

    if reached <= 0 or chdtr(degrees, reached) <= ndtr(quantile):
        return 0.0
    if reached > _LARGE:
        return max(0.0, (math.sqrt(reached) - quantile) ** 2 - (degrees - 1))
    return max(0.0, float(chndtrinc(reached, degrees, ndtr(quantile))))
