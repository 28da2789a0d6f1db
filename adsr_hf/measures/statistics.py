"""Intervals and tests on shares and per-image values: Wilson, bootstrap, exact McNemar, Tango's interval, Holm."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
# The normal quantile at which a 95% interval ends.
QUANTILE_95 = 1.959963984540054
Array = NDArray[np.float64]


def resampling_weights(images: int, *, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float32]:
    """How often each image is drawn in each resample of the bootstrap: (resamples, images), rows sum to ``images``.

    Efron 1979. A resample of images with replacement is a multinomial draw of their counts. Any figure that is a
    function of weighted sums over images comes from one matrix product with these.

    Args:
        images: at least 1.
        resamples: at least 1.
        seed: two figures that are to be compared image by image must use the same.

    Raises:
        ValueError: when an argument is outside what is allowed.
    """
    if images < 1 or resamples < 1:
        raise ValueError(f"images={images} and resamples={resamples} must both be at least 1")
    generator = np.random.default_rng([seed, images])
    weights = np.empty((resamples, images), dtype=np.float32)
    for row in weights:
        row[:] = np.bincount(generator.integers(0, images, images), minlength=images)
    return weights


def percentile_interval(replicates: NDArray[np.floating], confidence: float = 0.95) -> tuple[float, float]:
    """The middle ``confidence`` share of bootstrap replicates, (resamples,): (low, high)."""
    low, high = np.quantile(np.asarray(replicates, dtype=np.float64), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def bootstrap_interval(values: Array, weights: NDArray[np.float32], confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean of per-image values.

    Args:
        values: (N,), float; for a paired comparison the differences.
        weights: (resamples, N), from :func:`resampling_weights`.

    Raises:
        ValueError: when the shapes do not fit.
    """
    if values.ndim != 1 or weights.shape[1:] != values.shape:
        raise ValueError(f"values of shape {values.shape} do not fit weights of shape {weights.shape}")
    return percentile_interval(weights @ values / len(values), confidence)


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval for a share, such as an accuracy: (low, high), both in [0, 1], around successes / total.

    Wilson 1927, *Probable inference, the law of succession, and statistical inference*, without continuity correction.
    Unlike the normal approximation it keeps its coverage for few images and for shares near 0 or 1, where robust
    accuracies lie.

    Args:
        successes: number of images that count, in [0, total].
        total: number of images, at least 1.
        confidence: wanted coverage, in (0, 1).

    Raises:
        ValueError: when an argument is outside what is allowed.

    Example:
        >>> low, high = wilson_interval(45, 50)
        >>> round(low, 3), round(high, 3)
        (0.786, 0.957)
    """
    if total < 1:
        raise ValueError(f"total={total} must be at least 1: no images, no interval")
    if not 0 <= successes <= total:
        raise ValueError(f"successes={successes} must lie in [0, total={total}]; pass counts, not shares")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must lie strictly between 0 and 1; write 95 % as 0.95")
    quantile = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = successes / total, quantile**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # The ends are exactly 0 and 1 there; rounding would leave them beside.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return low, high


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that two classifiers are right equally often, from the images on which they differ.

    McNemar 1947: given their number, each discordant image falls to either side with probability one half.

    Args:
        only_first, only_second: images that only one of the two has right, at least 0.

    Raises:
        ValueError: for a negative count.

    Example:
        >>> mcnemar_exact(1, 9) < 0.05 < mcnemar_exact(3, 7)
        True
    """
    from scipy.stats import binomtest

    if min(only_first, only_second) < 0:
        raise ValueError(f"only_first={only_first} and only_second={only_second} must be at least 0")
    total = only_first + only_second
    return float(binomtest(only_first, total, 0.5).pvalue) if total else 1.0


def paired_share_interval(only_first: int, only_second: int, images: int) -> tuple[float, float]:
    """95% interval of the difference of two shares on the same images: first − second, (low, high) in [-1, 1].

    Tango 1998 (Statistics in Medicine 17): the differences δ that the score test does not refuse. Under δ the share q
    of images that only the second has right is its constrained maximum likelihood estimate, the larger root of
    2N q² + (δ (2N − b + c) − b − c) q − c δ (1 − δ) = 0 with b, c the discordant counts; the statistic is
    (b − c − N δ) / √(N (2q + δ (1 − δ))). Unlike Wald's interval and the bootstrap it is not empty where no image, or
    only a few, are discordant.

    Args:
        only_first, only_second: images that only one of the two has right, at least 0.
        images: N, at least their sum and at least 1.

    Raises:
        ValueError: when the counts do not fit.
    """
    if min(only_first, only_second) < 0 or images < max(1, only_first + only_second):
        raise ValueError(
            f"only_first={only_first}, only_second={only_second} and images={images} must be counts, the first two of "
            "some of the images"
        )
    low, high = _lower_limit(only_first, only_second, images), -_lower_limit(only_second, only_first, images)
    return low, high


def _lower_limit(gained: int, lost: int, images: int) -> float:
    """Where the score statistic of Tango's interval equals the normal quantile, below the estimate."""
    from scipy.optimize import brentq

    # At the estimate itself the statistic is 0 / 0 where no image, or every one, is discordant to one side.
    nearest = (gained - lost) / images - 1e-9
    if nearest <= -1:
        return -1.0

    def exceeds(difference: float) -> float:
        linear = difference * (2 * images - gained + lost) - gained - lost
        root = math.sqrt(linear**2 + 8 * images * lost * difference * (1 - difference))
        variance = images * ((root - linear) / (2 * images) + difference * (1 - difference))
        return gained - lost - images * difference - QUANTILE_95 * math.sqrt(max(0.0, variance))

    return float(brentq(exceeds, -1.0, nearest, xtol=1e-12))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979: p-values adjusted so that the chance of any false finding in the family stays below the level.

    Args:
        p_values: each in [0, 1].

    Raises:
        ValueError: when one is outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p_values={list(p_values)} must all lie in [0, 1]")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
