"""How many images, or runs, would decide what these could not: the interval's end against a bound."""

import math
from collections.abc import Iterable

from adsr_hf.decision.deltas import Delta
from adsr_hf.decision.differences import LEVEL

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
    distance = abs(delta.delta - bound)
    towards = delta.interval[0] if delta.delta >= bound else delta.interval[1]
    parts = [(v, runs) for v, runs in zip(delta.run_variances, delta.seeds, strict=True) if v]
    of_runs = sum(_squared(v, runs) for v, runs in parts)
    shown = (delta.delta - towards) ** 2 - sum(_squared(v, runs, power=False) for v, runs in parts)
    of_images = max(0.0, shown) * _stretch(math.inf) ** 2
    if of_runs < distance**2:
        return _images(delta.images, of_images, distance**2 - of_runs), None
    if distance == 0:
        return (None, MOST_RUNS) if parts else (MOST_IMAGES, None)
    runs = _fewest_runs([v for v, _ in parts], max(distance**2 - of_images, distance**2 / 2))
    left = distance**2 - sum(_squared(v, runs) for v, _ in parts)
    return (None if of_images <= left else _images(delta.images, of_images, left)), runs


def _images(images: int, of_images: float, left: float) -> int:
    if of_images * images >= left * MOST_IMAGES:
        return MOST_IMAGES
    return math.ceil(images * of_images / left)


def _fewest_runs(variances: Iterable[float], left: float) -> int:
    numbers = range(2, MOST_RUNS)
    return next((runs for runs in numbers if sum(_squared(v, runs) for v in variances) < left), MOST_RUNS)


def _squared(variance: float, runs: int, *, power: bool = True) -> float:
    """The runs' part of the squared half-width, stretched for the power that is promised."""
    return (_quantile(1 - LEVEL / 2, runs - 1) * (_stretch(runs - 1) if power else 1)) ** 2 * variance / runs


def _stretch(degrees: float) -> float:
    return 1 + _quantile(_POWER, degrees) / _quantile(1 - LEVEL / 2, degrees)


def _quantile(probability: float, degrees: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability) if math.isinf(degrees) else stdtrit(degrees, probability))
