"""How sure an accuracy measured on so many images is."""

import math
from statistics import NormalDist


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
