"""Choosing images class by class, the same way each time."""

import numpy as np

from adsr_hf.data.arguments import DataArguments

VALIDATION_NAMES = ("validation", "valid", "val", "dev")
TEST_NAME = "test"


def choose_splits(names: list[str], arguments: DataArguments) -> tuple[str, str | None, str | None]:
    """Names of the train, validation and test split among those that a data set has; None = there is none.

    Raises:
        ValueError: when a split that was asked for is not there.
    """
    for field in ("train_split", "validation_split", "test_split"):
        wanted = getattr(arguments, field)
        if wanted is not None and wanted not in names:
            raise ValueError(
                f"{field}={wanted!r} is not a split of dataset={arguments.dataset!r}; its splits are: "
                f"{', '.join(sorted(names))}. Set {field} to one of them"
            )
    train, validation, test = arguments.train_split, arguments.validation_split, arguments.test_split
    taken = {train, validation, test}
    if test is None and TEST_NAME in names and TEST_NAME not in taken:
        test = TEST_NAME
    if validation is None:
        validation = next((name for name in VALIDATION_NAMES if name in names and name not in taken), None)
    return train, validation, test


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
        ValueError: when a class has a single image.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    single = [name for name, count in zip(class_names, counts, strict=True) if count < 2]
    if single:
        raise ValueError(
            f"validation_fraction={fraction:g} holds images out from the train split, which needs at least 2 of each "
            f"class, but there is one only of: {quote_some(single)}; add images, remove the class, name a "
            "validation_split, or set validation_fraction=0"
        )
    size = max(round(fraction * len(labels)), len(class_names))
    held = np.zeros(len(labels), dtype=bool)
    held[stratified_order(labels, seed)[:size]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def quote_some(names: list[str], limit: int = 5) -> str:
    """The first few names in quotes, and how many more there are."""
    text = ", ".join(repr(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"
