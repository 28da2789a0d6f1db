"""Choosing images class by class, the same way each time."""

from collections.abc import Collection
from typing import Literal

import numpy as np

from adsr_hf.settings.data import DataArguments

VALIDATION_NAMES = ("validation", "valid", "val", "dev")
TEST_NAMES = ("test", "testing")


def choose_splits(names: list[str], arguments: DataArguments) -> tuple[str, str | None, str | None]:
    """Names of the train, validation and test split among those that a data set has; None = there is none.

    Raises:
        ValueError: when a split that was asked for is not there, or several are called like one that was not.
    """
    for field in ("train_split", "validation_split", "test_split"):
        _check_split(field, names, arguments)
    train, validation, test = arguments.train_split, arguments.validation_split, arguments.test_split
    taken = {train, validation, test}
    if test is None:
        test = _usual("test_split", TEST_NAMES, names, taken)
    if validation is None:
        validation = _usual("validation_split", VALIDATION_NAMES, names, taken)
    return train, validation, test


def choose_measured(
    names: list[str], arguments: DataArguments, role: Literal["test", "validation"], *, trained_on: bool
) -> tuple[str | None, str | None]:
    """Names of the split to measure on, and beside a test split of the validation split; None = held out from train.

    Args:
        trained_on: whether the model was trained on this data set; then no split is taken that is not called so.

    Raises:
        ValueError: when a split that was asked for is not there, or none can be told to be the one.
    """
    for field in ("validation_split", "test_split"):
        _check_split(field, names, arguments)
    taken = {arguments.train_split, arguments.validation_split, arguments.test_split}
    validation = arguments.validation_split or _usual("validation_split", VALIDATION_NAMES, names, taken)
    if role == "validation":
        if validation is None and (arguments.train_split not in names or arguments.validation_fraction == 0):
            raise ValueError(
                f"split='validation' does not exist in dataset={arguments.dataset!r}, and nothing is held out from a "
                f"train split; its splits are: {', '.join(sorted(names))}. Name one with --validation_split, or "
                "measure on --split test"
            )
        return validation, None
    test = arguments.test_split or _usual("test_split", TEST_NAMES, names, taken - {arguments.train_split})
    if test is None and len(names) == 1 and not trained_on:
        test = names[0]
    if test is None:
        reason = "the model was trained on the others" if trained_on else "it has several others"
        raise ValueError(
            f"split='test' does not exist in dataset={arguments.dataset!r}, and {reason}: "
            f"{', '.join(sorted(names))}. Name one with --test_split, measure on --split validation, or name another "
            "--dataset"
        )
    return test, validation if validation != test else None


def _check_split(field: str, names: list[str], arguments: DataArguments) -> None:
    wanted = getattr(arguments, field)
    if wanted is not None and wanted not in names:
        raise ValueError(
            f"{field}={wanted!r} is not a split of dataset={arguments.dataset!r}; its splits are: "
            f"{', '.join(sorted(names))}. Set {field} to one of them"
        )


def _usual(field: str, usual: tuple[str, ...], names: list[str], taken: Collection[str | None]) -> str | None:
    """The split that is called like the first of the usual names, in whatever case."""
    for wanted in usual:
        found = [name for name in names if name.casefold() == wanted and name not in taken]
        if len(found) > 1:
            raise ValueError(
                f"the splits {quote_some(sorted(found))} differ in case only; say which is meant with {field}"
            )
        if found:
            return found[0]
    return None


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of the images of which every beginning holds the classes in about their proportions.

    It starts with one image of each class, so that the first n ≥ K images miss none.

    Args:
        labels: (N,) int64 class indices.
        seed: in [0, 2³² − 1].

    Returns:
        (N,) int64, a permutation of 0 … N−1.
    """
    # RandomState's stream is frozen for good; the newer Generator's may change, and with it everybody's splits.
    random = np.random.RandomState(seed)
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    size = np.repeat(counts, counts)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    position = np.where(rank == 0, -1.0, (rank + 0.5) / size)
    return by_class[np.lexsort((random.permutation(len(labels)), position))]


def hold_out(
    labels: np.ndarray, *, fraction: float, seed: int, class_names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices that stay for training and indices that are held out, each sorted; at least one of each class in both.

    Args:
        labels: (N,) int64 class indices; every class of ``class_names`` occurs.
        fraction: share that is held out, in (0, 0.5].

    Raises:
        ValueError: when a class has fewer than two images.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    too_few = [name for name, count in zip(class_names, counts, strict=True) if count < 2]
    if too_few:
        raise ValueError(
            f"validation_fraction={fraction:g} holds images out from the train split, which needs at least 2 of each "
            f"class that can be read, but there are fewer of: {quote_some(too_few)}; add images, remove the class, "
            "name a validation_split, or set validation_fraction=0"
        )
    size = max(round(fraction * len(labels)), len(class_names))
    held = np.zeros(len(labels), dtype=bool)
    held[stratified_order(labels, seed)[:size]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def quote_some(names: list[str], limit: int = 5) -> str:
    """The first few names in quotes, and how many more there are."""
    text = ", ".join(repr(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"
