"""JSON from disk, read as a stranger's: each check names the place, what is there, and what must be."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Raises ShapeError where a value, found at a place such as "figures.accuracy.value", is not what it must be.
Check = Callable[[Any, str], None]

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ShapeError(ValueError):
    """A value that is not what it must be, or text that is no JSON object."""


def read_object(path: Path, *, nan: bool = False) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
        nan: whether NaN and Infinity, which are no JSON but which Python writes, are numbers.

    Raises:
        ShapeError: when it cannot be read, is cut short, gives a key twice, or holds anything but an object.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=None if nan else _no_number)
    except OSError as error:
        raise ShapeError(f"it cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise ShapeError("it is nested too deeply") from error
    except ValueError as error:
        raise ShapeError(f"it is damaged or cut short: {error}") from error
    if not isinstance(content, dict):
        raise ShapeError(f"it holds a {type(content).__name__} instead of a JSON object")
    return content


def anything(value: Any, where: str) -> None:
    """Takes whatever JSON can hold."""


def text(value: Any, where: str) -> None:
    """Raise ShapeError unless ``value`` is text."""
    if not isinstance(value, str):
        raise _wrong(value, where, "text")


def yes_or_no(value: Any, where: str) -> None:
    """Raise ShapeError unless ``value`` is true or false."""
    if not isinstance(value, bool):
        raise _wrong(value, where, "true or false")


def sha256(value: Any, where: str) -> None:
    """Raise ShapeError unless ``value`` is 64 hexadecimal digits."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise _wrong(value, where, "64 hexadecimal digits")


def whole_number(low: int, high: int = 2**63 - 1) -> Check:
    """Takes whole numbers in [low, high]."""

    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(value, where, f"a whole number {_range(low, high)}")

    return check


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """Takes finite numbers in [low, high]."""

    def check(value: Any, where: str) -> None:
        if type(value) not in (int, float) or not _is_finite(value) or not low <= value <= high:
            raise _wrong(value, where, f"a finite number {_range(low, high)}".strip())

    return check


def one_of(*allowed: str) -> Check:
    """Takes these texts."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in allowed:
            raise _wrong(value, where, f"one of {', '.join(map(repr, allowed))}")

    return check


def either(*checks: Check) -> Check:
    """Takes what one of the checks takes."""

    def check(value: Any, where: str) -> None:
        refusals = []
        for item in checks:
            try:
                return item(value, where)
            except ShapeError as error:
                refusals.append(error)
        raise refusals[-1]

    return check


def optional(check: Check) -> Check:
    """Takes null too."""
    return lambda value, where: None if value is None else check(value, where)


def list_of(check: Check, length: int | None = None) -> Check:
    """Takes lists, of this length if given, whose elements the check takes."""

    def check_list(value: Any, where: str) -> None:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise _wrong(value, where, "a list" if length is None else f"a list of {length}")
        for index, item in enumerate(value):
            check(item, f"{where}[{index}]")

    return check_list


def mapping_of(check: Check, keys: Check = text) -> Check:
    """Takes objects whose keys and values the checks take."""

    def check_mapping(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, where, "an object")
        for name, item in value.items():
            keys(name, f"a key of {where or 'it'}")
            check(item, _at(where, name))

    return check_mapping


def fields(required: Mapping[str, Check], others: Mapping[str, Check] | None = None) -> Check:
    """Takes objects that have the required keys; other keys are checked where they are named, else left alone."""
    known = {**required, **(others or {})}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, where, "an object")
        for name in required:
            if name not in value:
                raise ShapeError(f"{_at(where, name)} is missing")
        for name, item in known.items():
            if name in value:
                item(value[name], _at(where, name))

    return check


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _range(low: float, high: float) -> str:
    if math.isfinite(low) and high < 2**63 - 1:
        return f"in [{low:g}, {high:g}]"
    return f"of at least {low:g}" if math.isfinite(low) else ""


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number that no float can hold.
        return False


def _wrong(value: Any, where: str, wanted: str) -> ShapeError:
    shown = repr(value)
    return ShapeError(f"{where or 'it'} is {shown if len(shown) <= 80 else shown[:77] + '...'}, but must be {wanted}")


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise ValueError(f"the key {twice!r} is given twice")
    return result
