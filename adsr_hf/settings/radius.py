"""Norms, and radii as people write them. Imports nothing heavy."""

import math
import re
from typing import Literal, get_args

Norm = Literal["Linf", "L2"]
NORMS: tuple[str, ...] = get_args(Norm)

_FRACTION = re.compile(r"^\s*([0-9.eE+-]+)\s*(?:/\s*([0-9.eE+-]+)\s*)?$")


class Radius(float):
    """A float that can also be written as a fraction, such as ``"8/255"``, in Python, YAML and on the command line.

    Raises:
        ValueError: when the text is neither a number nor a fraction of two numbers.
    """

    def __new__(cls, value: "str | float") -> "Radius":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return super().__new__(cls, value)
        match = _FRACTION.match(value) if isinstance(value, str) else None
        try:
            if match is None:
                raise ValueError
            numerator, denominator = match.groups()
            return super().__new__(cls, float(numerator) / float(denominator or 1))
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"a radius must be a number such as 0.03 or a fraction such as 8/255, got {value!r}"
            ) from None


def check_radius(norm: str, epsilon: float) -> None:
    """Refuse what is no ball around an image whose pixels lie in [0, 1].

    Raises:
        ValueError: for an unknown norm, a radius that is not finite or is negative, or an Linf radius above 1.
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is unknown; choose one of {', '.join(NORMS)}")
    if not math.isfinite(epsilon) or epsilon < 0:
        raise ValueError(
            f"epsilon={epsilon} must be a finite number of at least 0; write it as a fraction, such as 8/255"
        )
    if norm == "Linf" and epsilon > 1:
        raise ValueError(
            f"epsilon={epsilon:g} is above 1, but pixels lie in [0, 1] and an Linf radius of 1 reaches every "
            f"image; if you meant {epsilon:g} grey levels, write {epsilon:g}/255"
        )
