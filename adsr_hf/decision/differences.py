"""What a figure's difference between two arms is, with an interval and a test that carry both images and runs.

The one place where per-run, per-image values become a difference, for ``compare``, ``gate``, ``study`` and the demo.

Runs of one arm differ in their seed, and all runs are measured on the same images. So the error of a difference has
three independent parts: which images were drawn, and, for each arm with several runs, which runs. A 95% interval ends
where their joint evidence ends: its half-width is √(q² V + t²_{S−1} A + t²_{T−1} B), V the variance over images, A and
B those over the S and T runs, each with the quantile of its own degrees of freedom (Graybill & Wang 1980, JASA 75).
One t with pooled or Satterthwaite's degrees is too narrow where one arm's runs scatter and the other's do not, and
where a small estimate of A is luck.

An arm of one run says nothing about other runs: it stands for that very model, and the interval says so by its scope.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adsr_hf.measures.debiased_calibration import DebiasedCalibration, mean_correlation
from adsr_hf.measures.statistics import mcnemar_exact, paired_share_interval

Array = NDArray[np.float64]
# Beyond the images: to which other runs a difference speaks. "these runs": to none.
Scope = Literal["other runs", "other runs of the candidate", "other runs of the current model", "these runs"]

SIGNIFICANCE_LEVEL = 0.05
# No p-value is below: no smaller one changes a decision.
_SMALLEST_P_VALUE = 1e-12
# Quantiles at which limits of a calibration error are taken; between them they are interpolated.
_QUANTILES = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.5, 7.5])
_UNCORRELATED_IMAGES = 4
_ANGLES = np.linspace(-np.pi, np.pi, 73)
_SHARES = np.linspace(0.0, 1.0, 33)


@dataclass(frozen=True)
class Difference:
    """The candidate's figure minus the current model's.

    Attributes:
        delta: estimate.
        interval: 95%, (low, high).
        test: how the p-value was found.
        p_value: two-sided, that there is no difference.
        scope: for which other runs it holds too.
        run_variances: of candidate and current, the variance of one run's figure between runs, without what its images
            add to it; None for one run.
        run_noises: of candidate and current, what the images add to the variance of one run's figure between runs, and
            was taken off; it shrinks with their number.
    """

    delta: float
    interval: tuple[float, float]
    test: str
    p_value: float
    scope: Scope
    run_variances: tuple[float | None, float | None]
    run_noises: tuple[float, float] = (0.0, 0.0)


def scope_of(candidate_runs: int, current_runs: int) -> Scope:
    """What a difference of so many runs a side speaks to."""
    if candidate_runs > 1 and current_runs > 1:
        return "other runs"
    if candidate_runs > 1:
        return "other runs of the candidate"
    return "other runs of the current model" if current_runs > 1 else "these runs"


def mean_difference(candidate: Array, current: Array) -> Difference:
    """Difference of two means over the same images.

    With x_si the value of run s on image i, the mean over runs and images varies by the images, by the runs, and by
    what a run and an image have together. V, the variance over images of x̄_·i − ȳ_·i divided by N, holds the first and
    the last for the runs at hand. The variance of an arm's run means x̄_s·, divided by S, is A plus its own share of
    the last, σ² / (S N) with σ² from the residuals x_si − x̄_s· − x̄_·i + x̄_··. That share is taken off, but not where
    there are two runs: one degree of freedom cannot tell both apart.

    For one run a side and outcomes 0 or 1 this is exact: McNemar's test and Tango's score interval. With several runs
    one image is added that only the candidate has right and one that only the current model has (Bonett & Price 2012),
    without which nearly equal arms would have no variance at all.

    Args:
        candidate, current: (S, N) and (T, N), a row for each run; at least 2 images, or outcomes 0 or 1.
    """
    if candidate.ndim != 2 or current.ndim != 2 or candidate.shape[1] != current.shape[1]:
        raise ValueError(f"values of shape {candidate.shape} and {current.shape} are not of the same images")
    paired = candidate.mean(0) - current.mean(0)
    images, delta = len(paired), float(candidate.mean() - current.mean())
    outcomes = bool(np.isin(candidate, (0, 1)).all() and np.isin(current, (0, 1)).all())
    if outcomes and len(candidate) == len(current) == 1:
        counts = int((paired > 0).sum()), int((paired < 0).sum())
        interval, p_value = paired_share_interval(*counts, images), mcnemar_exact(*counts)
        return Difference(delta, interval, "exact McNemar", p_value, "these runs", (None, None))
    seen = np.append(paired, (1.0, -1.0)) if outcomes else paired
    variance = float(seen.var(ddof=1)) / len(seen)
    runs = [_RunVariance.of(candidate), _RunVariance.of(current)]

    def half_width(level: float) -> float:
        return math.sqrt(_quantile(level, len(seen) - 1) ** 2 * variance + sum(run.squared(level) for run in runs))

    p_value = _smallest_level(lambda level: half_width(level) < abs(delta)) if delta else 1.0
    half = half_width(SIGNIFICANCE_LEVEL)
    several = len(candidate) > 1 or len(current) > 1
    return Difference(
        delta,
        _possible((delta - half, delta + half)) if outcomes else (delta - half, delta + half),
        "t over images and runs" if several else "t over images",
        p_value,
        scope_of(len(candidate), len(current)),
        (runs[0].of_one, runs[1].of_one),
        (runs[0].noise, runs[1].noise),
    )


def run_difference(candidate: Sequence[float], current: Sequence[float]) -> Difference:
    """Difference of a figure that each run has once, such as its training throughput: over runs alone.

    The interval is the delta itself where neither side has several runs, and there is no test: the p-value is 1.
    """
    runs = [_RunVariance.of_values(np.array(candidate)), _RunVariance.of_values(np.array(current))]
    delta = float(np.mean(candidate) - np.mean(current))
    half = math.sqrt(sum(run.squared(SIGNIFICANCE_LEVEL) for run in runs))
    return Difference(
        delta,
        (delta - half, delta + half),
        "none: the interval is over runs" if half else "none",
        1.0,
        scope_of(len(candidate), len(current)),
        (runs[0].of_one, runs[1].of_one),
        (runs[0].noise, runs[1].noise),
    )


def calibration_difference(
    candidate: Sequence[DebiasedCalibration], current: Sequence[DebiasedCalibration]
) -> Difference:
    """Difference of two root mean squared calibration errors without bias, on the same images.

    The error of an arm is that over all images and runs. It has limits r(q) for every normal quantile q. The region
    q₁² + q₂² ≤ q² of both quantiles holds the truth as a normal pair would lie in it, and the interval is the range of
    r₁(q₁) − r₂(q₂) over it. For errors far from 0 that is the usual root of summed squares; near 0, where an error's
    lower side ends, it stays valid. The region is that of a correlated pair, by the correlation of what each image
    adds to both errors: models that err on the same images alike are told apart more surely, and a model that is too
    sure from one that is not sure enough less surely. Four images count as uncorrelated, so that two models that are
    almost the same do not lose their uncertainty. What an arm's runs differ by is added as for means, net of what the
    images do to each run by itself.

    Args:
        candidate, current: one for each run.
    """
    runs = [_RunVariance.of_errors(side) for side in (candidate, current)]
    first, second = (DebiasedCalibration.of_runs(side) for side in (candidate, current))
    delta = first.root_mean_square - second.root_mean_square
    lows, highs = _over_images(first, second)

    def ends(level: float) -> tuple[float, float]:
        quantile = _quantile(level, math.inf)
        of_runs = np.sqrt((1 - _SHARES**2) * sum(run.squared(level) for run in runs))
        low = np.interp(_SHARES * quantile, _QUANTILES, lows) - of_runs
        high = np.interp(_SHARES * quantile, _QUANTILES, highs) + of_runs
        return _possible((float(low.min()), float(high.max())))

    p_value = _smallest_level(lambda level: ends(level)[0] > 0 or ends(level)[1] < 0)
    return Difference(
        delta,
        ends(SIGNIFICANCE_LEVEL),
        "limits of the squared error without bias",
        p_value,
        scope_of(len(candidate), len(current)),
        (runs[0].of_one, runs[1].of_one),
        (runs[0].noise, runs[1].noise),
    )


@dataclass(frozen=True)
class _RunVariance:
    """What an arm's runs add.

    Attributes:
        of_one: variance of one run's figure between runs; None for one run.
        runs: their number.
        noise: of the images, taken off ``of_one``.
    """

    of_one: float | None
    runs: int
    noise: float = 0.0

    @classmethod
    def of(cls, values: Array) -> "_RunVariance":
        """From (S, N) per-image values, net of the noise that the images bring."""
        raw = cls.of_values(values.mean(1))
        if len(values) < 3 or values.shape[1] < 2:
            return raw
        runs, images = values.shape
        residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
        together = float((residuals**2).sum()) / ((runs - 1) * (images - 1))
        return raw.net_of(together / images)

    @classmethod
    def of_errors(cls, errors: Sequence[DebiasedCalibration]) -> "_RunVariance":
        """From the calibration errors of runs: net of the images' noise, but for the part that all runs share."""
        raw = cls.of_values(np.array([error.root_mean_square for error in errors]))
        if len(errors) < 3:
            return raw
        ends = np.array([error.limits(1.0) for error in errors])
        of_images = float(np.mean((ends[:, 1] - ends[:, 0]) ** 2)) / 4
        return raw.net_of(of_images * (1 - mean_correlation([error.influence for error in errors])))

    @classmethod
    def of_values(cls, values: Array) -> "_RunVariance":
        """From one value a run, (S,)."""
        return cls(float(values.var(ddof=1)) if len(values) > 1 else None, len(values))

    def net_of(self, noise: float) -> "_RunVariance":
        """Without what the images add."""
        return _RunVariance(max(0.0, (self.of_one or 0.0) - noise), self.runs, noise)

    def squared(self, level: float) -> float:
        """Its part of the squared half-width."""
        if self.of_one is None:
            return 0.0
        return _quantile(level, self.runs - 1) ** 2 * self.of_one / self.runs


def _over_images(candidate: DebiasedCalibration, current: DebiasedCalibration) -> tuple[Array, Array]:
    """Lowest and highest difference in the region of each of _QUANTILES."""
    first, second = candidate.influence, current.influence
    scale = float(first.std() * second.std())
    correlation = float(np.mean((first - first.mean()) * (second - second.mean()))) / scale if scale else 0.0
    most = max(0.0, 1 - _UNCORRELATED_IMAGES / len(first))
    correlation = max(-most, min(most, correlation))
    axis = np.concatenate([-_QUANTILES[:0:-1], _QUANTILES])
    mine_limits, their_limits = _limits(candidate), _limits(current)
    radii = _QUANTILES[:, None]
    along_candidate = np.interp(radii * np.cos(_ANGLES), axis, mine_limits)
    turned = correlation * np.cos(_ANGLES) + math.sqrt(1 - correlation**2) * np.sin(_ANGLES)
    spans = along_candidate - np.interp(radii * turned, axis, their_limits)
    return spans.min(axis=1), spans.max(axis=1)


def _limits(error: DebiasedCalibration) -> Array:
    """At −_QUANTILES from the last on, the estimate, and at _QUANTILES: ascending."""
    ends = np.array([error.limits(quantile) for quantile in _QUANTILES[1:]])
    return np.concatenate([ends[::-1, 0], [error.root_mean_square], ends[:, 1]])


def _possible(interval: tuple[float, float]) -> tuple[float, float]:
    """Cut at what a difference of two shares can be, which a t interval of few degrees of freedom does not know."""
    return max(-1.0, interval[0]), min(1.0, interval[1])


def _quantile(level: float, degrees: float) -> float:
    """What a Student t variable exceeds in size with the chance ``level``."""
    from scipy.special import ndtri, stdtrit

    return float(-ndtri(level / 2)) if math.isinf(degrees) else float(-stdtrit(degrees, level / 2))


def _smallest_level(excludes_zero: Callable[[float], bool]) -> float:
    """The p-value that belongs to intervals: the level at which they begin to exclude 0, bisected on a log scale."""
    low, high = math.log(_SMALLEST_P_VALUE), 0.0
    if excludes_zero(_SMALLEST_P_VALUE):
        return _SMALLEST_P_VALUE
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if excludes_zero(math.exp(middle)) else (middle, high)
    return math.exp(high)
