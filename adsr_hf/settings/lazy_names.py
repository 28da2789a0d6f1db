"""Names that a room hands out and fetches when they are asked for, so that importing the room loads nothing heavy."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def fetched(room: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a room.

    Args:
        room: the module's ``__name__``.
        homes: name to the module that defines it.
    """

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}; it has {', '.join(homes)}")
        return getattr(import_module(homes[name]), name)

    return fetch
