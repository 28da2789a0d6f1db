"""Labels that are none of the model's classes, found before a run begins and not when their batch comes."""

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
from torch import Tensor
from torch.utils.data import Subset

# What collators take for labels, in the order in which they look.
_COLUMNS = ("label", "label_ids", "labels")
_ATTRIBUTES = ("labels", "targets")


def check_label_column(
    dataset: Any, num_classes: int, *, name: str, collate: Callable[[list[Any]], dict[str, Any]]
) -> None:
    """Refuse a data set with a label outside the model's classes, where labels can be read without the images.

    That is in a column of a ``datasets.Dataset``, in a list of rows, in ``labels`` or ``targets`` of another data set,
    and in a ``Subset`` of these. A transform or collator may still correct a label, so a wrong one is followed through
    both before it is refused.

    Args:
        dataset: what a loader reads; one whose labels are not at hand passes.
        num_classes: K.
        name: what the error calls it.
        collate: makes a batch of rows.

    Raises:
        ValueError: naming an image, its label and how many there are.
    """
    labels = _labels_of(dataset)
    if labels is None:
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if not len(wrong):
        return
    first = int(wrong[0])
    seen = collate([dataset[first]]).get("labels")
    if not isinstance(seen, Tensor) or seen.numel() != 1 or 0 <= seen.item() < num_classes:
        return
    raise ValueError(
        f"{name} has labels outside the model's classes 0 to {num_classes - 1}: image {first} has {seen.item():g}, "
        f"and {len(wrong)} of {len(labels)} in all. Leave unlabelled images (-1, -100) out, or load the model with "
        "num_labels set to the number of classes"
    )


def _labels_of(dataset: Any) -> np.ndarray | None:
    """(N,) whole numbers, or None where they are not at hand."""
    if isinstance(dataset, Subset):
        labels = _labels_of(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices)]
    values: Any = None
    if isinstance(dataset, datasets.Dataset):
        column = next((column for column in _COLUMNS if column in dataset.column_names), None)
        if column is not None:
            # Without the transform, which would read every image.
            values = dataset.select_columns([column]).with_format("numpy")[:][column]
    elif isinstance(dataset, list | tuple):
        values = [_label_of(row) for row in dataset]
    else:
        values = next((getattr(dataset, name) for name in _ATTRIBUTES if hasattr(dataset, name)), None)
    return _whole_numbers(values, dataset)


def _label_of(row: Any) -> Any:
    label = (
        next((row[name] for name in _COLUMNS if row.get(name) is not None), None) if isinstance(row, dict) else None
    )
    return label.item() if isinstance(label, Tensor | np.ndarray) and label.ndim == 0 else label


def _whole_numbers(values: Any, dataset: Any) -> np.ndarray | None:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if not isinstance(values, list | tuple | np.ndarray) or len(values) != len(dataset):
        return None
    if not isinstance(values, np.ndarray) and not all(isinstance(value, int | np.integer) for value in values):
        return None
    array = np.asarray(values)
    return array if array.ndim == 1 and array.dtype.kind in "iu" else None
