"""Checks of a field's value whose messages name the field, the value, what is allowed and a way out."""

import math
from collections.abc import Iterator
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from adsr_hf.settings.radius import Radius


def radius(name: str, value: "str | float") -> Radius:
    """The value as a radius.

    Raises:
        ValueError: when it is neither a number nor a fraction.
    """
    try:
        return Radius(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is among ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, allowed))}")


def at_least(name: str, value: int, low: int, *, fix: str) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``low``."""
    if not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {low}; {fix}")


def in_range(name: str, value: float, *, low: float, high: float = math.inf, fix: str) -> None:
    """Raise ValueError unless ``value`` is a finite number in [low, high]."""
    if not (is_finite(value) and low <= value <= high):
        allowed = f"lie in [{low:g}, {high:g}]" if math.isfinite(high) else f"be a finite number of at least {low:g}"
        raise ValueError(f"{name}={value!r} must {allowed}; {fix}")


def is_finite(value: object) -> bool:
    """Whether ``value`` is a real number, and neither infinite nor NaN."""
    return isinstance(value, Real) and math.isfinite(value)


def finite_numbers(arguments: Any) -> None:
    """Raise ValueError if a field of a dataclass holds NaN or infinity, in a list or a mapping too.

    No setting means anything then, and most would train without an error.
    """
    for field in fields(arguments):
        for value in _numbers_in(getattr(arguments, field.name)):
            if not is_finite(value):
                raise ValueError(f"{field.name}={value!r} must be a finite number; leave it out for its default")


def _numbers_in(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers_in(item)
    elif isinstance(value, Real):
        yield float(value)
