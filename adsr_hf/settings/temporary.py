"""Attributes that have another value for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def temporarily(holder: Any, **values: Any) -> Iterator[None]:
    """Set attributes of ``holder``, which it has, and set them back afterwards, whatever happens.

    Example:
        >>> from types import SimpleNamespace
        >>> limits = SimpleNamespace(checkpoints=3)
        >>> with temporarily(limits, checkpoints=None):
        ...     print(limits.checkpoints)
        None
        >>> limits.checkpoints
        3
    """
    before = {name: getattr(holder, name) for name in values}
    try:
        for name, value in values.items():
            setattr(holder, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(holder, name, value)
