"""Data sets without a length: read once, so that an image has a position."""

import itertools
from typing import Any

from torch.utils.data import IterableDataset

MOST_STREAMED = 100_000


def as_sized(dataset: Any, name: str) -> Any:
    """The data set itself where it has a length and positions; a list of its items where it is a stream.

    Args:
        dataset: what Trainer takes.
        name: of the argument, for messages.

    Raises:
        TypeError: when it can be neither indexed nor iterated over.
        ValueError: when a stream does not end within :data:`MOST_STREAMED` items.
    """
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset):
        return dataset
    if not hasattr(dataset, "__iter__"):
        raise TypeError(
            f"{name} is a {type(dataset).__name__}, which has neither a length with items nor an iterator; pass a "
            "data set as Trainer takes it"
        )
    items = list(itertools.islice(iter(dataset), MOST_STREAMED + 1))
    if len(items) > MOST_STREAMED:
        raise ValueError(
            f"{name} is a stream that does not end within {MOST_STREAMED} items, and every image of it would be kept "
            "in memory; pass a part of it, such as list(itertools.islice(stream, 1000)), or a data set with a length"
        )
    return items
