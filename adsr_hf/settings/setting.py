"""How a setting is declared: a field of a dataclass, with the words that ``--help`` and the docs show."""

from dataclasses import field
from typing import Any


def setting(default: Any, text: str) -> Any:
    """A field with a default and its help.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Arguments:
        ...     steps: int = setting(10, "Steps of the attack.")
        >>> Arguments().steps, Arguments.__dataclass_fields__["steps"].metadata["help"]
        (10, 'Steps of the attack.')
    """
    return field(default=default, metadata={"help": text})
