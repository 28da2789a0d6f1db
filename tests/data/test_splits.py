from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsr_hf.data.splits import choose_measured, choose_splits, hold_out, stratified_order
from adsr_hf.settings.data import DataArguments

class_sizes = st.lists(st.integers(min_value=2, max_value=60), min_size=2, max_size=6)


def labels_of(sizes: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(0).permutation(labels)


@given(sizes=class_sizes, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_every_beginning_of_the_order_holds_the_classes_in_proportion(sizes: list[int], seed: int) -> None:
    labels = labels_of(sizes)
    order = stratified_order(labels, seed)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(labels)))
    seen = np.cumsum(np.eye(len(sizes))[labels[order]], axis=0)
    assert (seen[len(sizes) - 1] == 1).all(), "it starts with one of each class"
    later = seen[len(sizes) :]
    share = np.arange(len(sizes) + 1, len(labels) + 1)[:, None] * (np.array(sizes) / len(labels))
    assert (np.abs(later - share) <= len(sizes)).all()


@given(sizes=class_sizes, fraction=st.floats(0.01, 0.5), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_hold_out_parts_the_images_and_keeps_each_class_on_both_sides(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels, names = labels_of(sizes), [str(number) for number in range(len(sizes))]
    kept, held = hold_out(labels, fraction=fraction, seed=seed, class_names=names)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    for part in (kept, held):
        assert (np.bincount(labels[part], minlength=len(sizes)) > 0).all()
    assert len(held) == max(round(fraction * len(labels)), len(sizes))


def test_hold_out_takes_the_fraction_of_each_class() -> None:
    labels = labels_of([400, 200, 40])
    _, held = hold_out(labels, fraction=0.1, seed=3, class_names=["a", "b", "c"])
    np.testing.assert_allclose(np.bincount(labels[held]), [40, 20, 4], atol=1)


def test_the_seed_decides_and_is_repeatable() -> None:
    labels = labels_of([30, 30])
    first, again, other = (stratified_order(labels, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_class_with_one_image_cannot_be_held_out() -> None:
    with pytest.raises(ValueError, match=r"there are fewer of: 'rare'.*validation_split"):
        hold_out(labels_of([5, 1]), fraction=0.1, seed=0, class_names=["common", "rare"])


@pytest.mark.parametrize(
    ("names", "changes", "expected"),
    [
        (["train"], {}, ("train", None, None)),
        (["train", "test"], {}, ("train", None, "test")),
        (["train", "val", "test"], {}, ("train", "val", "test")),
        (["train", "Valid", "Testing"], {}, ("train", "Valid", "Testing")),
        (["train", "dev", "validation"], {}, ("train", "validation", None)),
        (["train", "validation", "test"], {"test_split": "validation"}, ("train", None, "validation")),
        (["train", "validation", "test"], {"validation_split": "test"}, ("train", "test", None)),
        (["fit", "test"], {"train_split": "fit"}, ("fit", None, "test")),
        (["test"], {"train_split": "test"}, ("test", None, None)),
    ],
)
def test_splits_are_chosen_and_none_serves_twice(names: list[str], changes: dict, expected: tuple) -> None:
    assert choose_splits(names, DataArguments(dataset="a/b", **changes)) == expected


@pytest.mark.parametrize("field", ["train_split", "validation_split", "test_split"])
def test_a_split_that_is_not_there_is_refused_with_those_that_are(field: str) -> None:
    with pytest.raises(ValueError, match=rf"{field}='x' is not a split of dataset='a/b'.*test, train"):
        choose_splits(["train", "test"], DataArguments(dataset="a/b", **{field: "x"}))


@pytest.mark.parametrize(
    ("names", "role", "changes", "trained_on", "expected"),
    [
        (["train", "test"], "test", {}, True, ("test", None)),
        (["train", "TEST", "val"], "test", {}, True, ("TEST", "val")),
        (["train"], "test", {}, False, ("train", None)),
        (["photos"], "test", {}, False, ("photos", None)),
        (["test"], "test", {}, False, ("test", None)),
        (["train"], "test", {"test_split": "train"}, True, ("train", None)),
        (["train", "validation"], "test", {"test_split": "train"}, False, ("train", "validation")),
        (["train", "validation"], "validation", {}, True, ("validation", None)),
        (["train"], "validation", {}, True, (None, None)),
    ],
)
def test_what_is_measured_is_chosen(
    names: list[str], role: Any, changes: dict, trained_on: bool, expected: tuple
) -> None:
    assert choose_measured(names, DataArguments(dataset="a/b", **changes), role, trained_on=trained_on) == expected


@pytest.mark.parametrize(
    ("names", "role", "changes", "trained_on", "text"),
    [
        (["train"], "test", {}, True, "the model was trained on the others: train.*--split validation"),
        (["left", "right"], "test", {}, False, "several others: left, right.*--test_split"),
        (["photos"], "validation", {}, False, "split='validation' does not exist.*nothing is held out"),
        (["train"], "validation", {"validation_fraction": 0.0}, True, "split='validation' does not exist"),
        (["train", "test"], "test", {"test_split": "x"}, False, "test_split='x' is not a split"),
        (["train", "Test", "TEST"], "test", {}, False, "'TEST', 'Test' differ in case only.*test_split"),
    ],
)
def test_what_cannot_be_told_is_refused(
    names: list[str], role: Any, changes: dict, trained_on: bool, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        choose_measured(names, DataArguments(dataset="a/b", **changes), role, trained_on=trained_on)
