"""Class names of two lists: by name, in whatever order and spelling, and in time that grows with their number."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.data.columns import renumber
from adsr_hf.networks.class_names import match_names


class CountingName(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountingName.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@given(st.permutations(range(8)))
def test_the_order_is_undone(order: list[int]) -> None:
    known = [f"class {index}" for index in range(8)]
    assert match_names([known[index] for index in order], known) == order


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("dark red", 0),
        ("Dark_Red", 0),
        (" DARK-RED ", 0),
        ("dark  red", 0),
        ("darkred", None),
        ("-1", 2),
        ("1", 1),
        ("LIGHT", None),
        ("light", 3),
        ("Light", 4),
        ("ﬁg", 5),
        ("", None),
    ],
)
def test_what_counts_as_the_same_name(name: str, index: int | None) -> None:
    """Where two known names differ in spelling alone, only the very same one is meant."""
    assert match_names([name], ["dark red", "1", "-1", "light", "Light", "fig"]) == [index]


def test_two_names_for_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\['Cat', 'cat'\] differ only in spelling, and all are 'cat'"):
        match_names(["Cat", "dog", "cat"], ["cat", "dog"])


@pytest.mark.parametrize(
    "match",
    [match_names, lambda names, known: renumber(np.arange(len(names)), names, known).tolist()],
    ids=["match_names", "renumber"],
)
def test_ten_times_the_classes_are_ten_times_the_work(match: Any) -> None:
    counts = []
    for number in (100, 1000):
        known = [CountingName(f"class {index}") for index in range(number)]
        CountingName.compared = 0
        names = [CountingName(name) for name in reversed(known)]
        assert match(names, known) == list(reversed(range(number)))
        counts.append(CountingName.compared)
    assert counts[1] <= 12 * max(counts[0], 1)
