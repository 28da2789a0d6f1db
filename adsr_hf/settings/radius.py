"""Radii as people write them. Imports nothing heavy."""

import re

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
