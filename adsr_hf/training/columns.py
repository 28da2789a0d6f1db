"""How data sets are read: in an order of their own, without columns that nobody takes, with labels that fit."""

from collections.abc import Callable, Sized
from typing import Any, cast

import datasets
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from adsr_hf.data.label_check import check_label_column

IMAGES = "pixel_values"

Collate = Callable[[list[Any]], Any]


def order_of_its_own(dataset: Dataset | None, strategy: str) -> Sampler | None:
    """The sampler of a training set that ``shuffles_itself``, such as one with extra images; None for any other.

    Args:
        strategy: ``args.train_sampling_strategy``.

    Raises:
        ValueError: when such a set is given another strategy than ``"random"``.
    """
    if not getattr(dataset, "shuffles_itself", False):
        return None
    if strategy != "random":
        raise ValueError(
            f"train_sampling_strategy={strategy!r} does not go with extra images, whose fixed share of each batch is "
            "an order already; leave it out, or leave extra_dataset out"
        )
    return SequentialSampler(cast(Sized, dataset))


def keeps_all_columns(dataset: datasets.Dataset) -> bool:
    """Whether a transform may still need columns that the model does not take, such as the undecoded image."""
    return dataset.format["type"] == "custom" or IMAGES not in dataset.column_names


class RowCollator:
    """Drops unused columns from rows that hold images, and leaves others to the user's collator as they are.

    Args:
        plain: the user's collator.
        dropping: the same behind one that drops what the model does not take.
    """

    def __init__(self, plain: Collate, dropping: Collate) -> None:
        self._plain, self._dropping = plain, dropping

    def __call__(self, rows: list[Any]) -> Any:
        prepared = all(isinstance(row, dict) and IMAGES in row for row in rows)
        return self._dropping(rows) if prepared else self._plain(rows)


def check_labels(dataset: Any, *, name: str, num_classes: int, collate: Collate) -> None:
    """Refuse labels outside the model's classes, where they can be read without the images.

    Args:
        dataset: what a loader reads, or several by name; None passes.
        name: what the error calls it.
        num_classes: K.
        collate: makes a batch of rows.

    Raises:
        ValueError: see :func:`adsr_hf.data.label_check.check_label_column`.
    """
    for key, images in dataset.items() if isinstance(dataset, dict) else ((None, dataset),):
        full_name = name if key is None else f"{name}[{key!r}]"
        check_label_column(images, num_classes, name=full_name, collate=collate)


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the loader's data set which epoch it is, where it wants to know."""
    dataset: Any = getattr(loader, "dataset", None)
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)


def first_rows(dataset: Any, collate: Collate, *, number: int = 8) -> Any:
    """A batch of the first rows: the same in every process, and no random number that training draws is used."""
    # Not accelerate's loader, which remembers one that was not read to its end.
    loader = DataLoader(dataset, batch_size=number, collate_fn=collate)
    with torch.random.fork_rng(devices=[]):
        return next(iter(loader))
