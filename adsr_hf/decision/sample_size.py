"""How many images, or runs, would decide what these could not: the interval's end against a bound."""

import math

from adsr_hf.decision.deltas import Delta
from adsr_hf.decision.differences import SIGNIFICANCE_LEVEL

MOST_IMAGES = 10_000_000
MOST_RUNS = 100
_POWER = 0.8


def needed_to_decide(delta: Delta, bound: float) -> tuple[int | None, int | None]:
    """About how many images and runs a side decide four times in five on which side of ``bound`` the difference lies.

    The interval must then be expected to end before the bound by as much as chance takes from it one time in five: for
    a normal variable 0.84 of its standard deviations, for the runs' part what a Student t variable has there. Only the
    images' part shrinks with the root of their number. Where the runs' part alone reaches the bound no number of
    images helps: then the runs are counted that leave the images enough of the distance, half of it if need be.

    Args:
        bound: in the units, and with the sign, of ``delta.delta``.

    Returns:
        Number of images, MOST_IMAGES where even these would not do, and number of runs for each side that has several,
        MOST_RUNS where these would not do; None for what need not grow.
    """
    reach = _Reach(delta, bound)
    distance = (delta.delta - bound) ** 2
    if reach.squared(math.inf, None) < distance:
        return _images(reach, distance, None), None
    if not reach.parts:
        return MOST_IMAGES, None
    runs = next((count for count in range(2, MOST_RUNS) if reach.leaves_enough(distance, count)), MOST_RUNS)
    return None if reach.squared(1.0, runs) < distance else _images(reach, distance, runs), runs


class _Reach:
    """How far an interval is expected to reach towards a bound, stretched for the power that is promised."""

    def __init__(self, delta: Delta, bound: float) -> None:
        towards = delta.interval[0] if delta.delta >= bound else delta.interval[1]
        sides = zip(delta.run_variances, delta.run_noises, delta.seeds, strict=True)
        self.images = delta.images
        self.parts = [(variance, noise, runs) for variance, noise, runs in sides if variance is not None]
        of_runs = sum(
            _quantile(1 - SIGNIFICANCE_LEVEL / 2, runs - 1) ** 2 * variance / runs for variance, _, runs in self.parts
        )
        self._of_images = max(0.0, (delta.delta - towards) ** 2 - of_runs) * _stretch(math.inf) ** 2

    def squared(self, times: float, runs: int | None) -> float:
        """With so many times the images, and so many runs a side (None: as many as there are)."""
        result = self._of_images / times
        for variance, noise, present in self.parts:
            number = present if runs is None else runs
            width = _quantile(1 - SIGNIFICANCE_LEVEL / 2, number - 1) * _stretch(number - 1)
            result += width**2 * _expected(variance, noise / times, number - 1) / number
        return result

    def leaves_enough(self, distance: float, runs: int) -> bool:
        """Whether so many runs decide with the images at hand, or leave more images half of the distance."""
        return self.squared(1.0, runs) < distance or self.squared(math.inf, runs) < distance / 2


def _images(reach: _Reach, distance: float, runs: int | None) -> int | None:
    if not reach.images:
        return None
    low, high = 0, MOST_IMAGES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reach.squared(middle / reach.images, runs) < distance else (middle, high)
    return high


def _expected(variance: float, noise: float, degrees: int) -> float:
    """What is expected to be seen of a variance between runs when its noise is taken off and what is below 0 cut.

    E ((v + n) X / k − n)₊ for a chi-square variable X of k degrees of freedom, with P_k(X > x) its upper tail:
    (v + n) (P_{k+2}(X > c k) − c P_k(X > c k)) with c = n / (v + n).
    """
    from scipy.special import chdtrc

    if noise == 0:
        return variance
    share = noise / (variance + noise)
    tails = (float(chdtrc(more, share * degrees)) for more in (degrees + 2, degrees))
    return (variance + noise) * (next(tails) - share * next(tails))


def _stretch(degrees: float) -> float:
    return 1 + _quantile(_POWER, degrees) / _quantile(1 - SIGNIFICANCE_LEVEL / 2, degrees)


def _quantile(probability: float, degrees: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability) if math.isinf(degrees) else stdtrit(degrees, probability))
