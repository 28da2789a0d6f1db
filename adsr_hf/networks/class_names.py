"""Class names of two lists brought together: by name, not by position."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_SEPARATORS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")


def match_names(names: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The position in ``known`` of each name; None = it is not there.

    The same name wins; else one that differs only in case, in space around it, or in what stands between its words
    (spaces, ``_``, ``-``), where exactly one does.

    Raises:
        ValueError: when two names would be the same known one.
    """
    exact = {name: index for index, name in enumerate(known)}
    spelled: dict[str, list[int]] = {}
    for index, name in enumerate(known):
        spelled.setdefault(_spelling(name), []).append(index)
    found = [exact.get(name, _only(spelled.get(_spelling(name), []))) for name in names]
    twice = [index for index, count in Counter(found).items() if index is not None and count > 1]
    if twice:
        same = [name for name, index in zip(names, found, strict=True) if index == twice[0]]
        raise ValueError(
            f"the classes {same} differ only in spelling, and all are {known[twice[0]]!r} by name; give each class a "
            "name of its own"
        )
    return found


def _spelling(name: str) -> str:
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold().strip())


def _only(indices: list[int]) -> int | None:
    return indices[0] if len(indices) == 1 else None
