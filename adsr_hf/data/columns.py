"""Finding the images and the classes in a table, whatever its columns are called and however classes are written."""

from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Image

from adsr_hf.data.splits import quote_some
from adsr_hf.settings.data import DataArguments

# The first wins over the others, which are equal.
_IMAGE_NAMES = ("image", "img", "images", "picture", "photo")
_LABEL_NAMES = ("label", "labels", "class", "target", "category", "y")


def find_columns(splits: dict[str, Dataset], first: str, arguments: DataArguments) -> tuple[str, str]:
    """Names of the image column and the label column, which all splits share.

    Args:
        first: the split whose columns decide.

    Raises:
        ValueError: when a column that was asked for is missing, none fits, several do, or another split has not the
            same.
    """
    image = find_image_column(splits[first], arguments)
    label = _find(splits[first], arguments, "label_column", ClassLabel, _LABEL_NAMES)
    for name, split in splits.items():
        for field, column in (("image_column", image), ("label_column", label)):
            if column not in split.column_names:
                raise ValueError(
                    f"{field}={column!r}, as in split {first!r}, is no column of split {name!r} of dataset="
                    f"{arguments.dataset!r}; its columns are: {', '.join(split.column_names)}. Give all splits the "
                    "same columns, or choose others with train_split, validation_split and test_split"
                )
    return image, label


def find_image_column(dataset: Dataset, arguments: DataArguments) -> str:
    """Name of the image column, of a table that may have no labels.

    Raises:
        ValueError: as :func:`find_columns` does.
    """
    return _find(dataset, arguments, "image_column", Image, _IMAGE_NAMES)


def _find(
    dataset: Dataset, arguments: DataArguments, field: str, feature_type: type, usual_names: tuple[str, ...]
) -> str:
    """A column by its name; where none has a usual one, by its type."""
    columns, wanted = dataset.column_names, getattr(arguments, field)
    kind = field.split("_")[0]
    listing = f"the columns of dataset={arguments.dataset!r} are: {', '.join(columns)}"
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(f"{field}={wanted!r} is no column; {listing}. Set {field} to one of them")
        return wanted
    best = [name for name in columns if name.casefold() == usual_names[0]]
    named = [name for name in columns if name.casefold() in usual_names]
    typed = [name for name in columns if isinstance(dataset.features[name], feature_type)]
    candidates = best or named or typed
    if not candidates:
        raise ValueError(f"no {kind} column was found; {listing}. Name the right one with {field}")
    if len(candidates) > 1:
        raise ValueError(f"several columns hold {kind}s: {quote_some(candidates)}. Choose one with {field}")
    return candidates[0]


def read_labels(splits: dict[str, Dataset], column: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Class indices of each split, (N,) int64, and the names of the classes.

    Names are the ClassLabel's of the first split, else the sorted distinct values of all splits: text as it is, 7 as
    ``"7"``. Another split whose ClassLabel has them in another order is renumbered.

    Raises:
        ValueError: when a row has no label (named by split and row), labels are neither text nor whole numbers, or a
            split names a class that the first one does not.
    """
    values = {name: split[column][:] for name, split in splits.items()}
    for name, split_values in values.items():
        for row, value in enumerate(split_values):
            _check_label(value, f"{name}[{row}]", column)
    _check_kinds(splits, values, column)
    distinct = set().union(*values.values())
    first = next(iter(splits))
    names = _names(splits[first], column)
    if names:
        return {
            name: _indices(split_values, _names(splits[name], column) or names, names, column, (name, first))
            for name, split_values in values.items()
        }, names
    ordered = sorted(distinct)
    index = {value: position for position, value in enumerate(ordered)}
    return {
        name: np.asarray([index[value] for value in split_values], dtype=np.int64)
        for name, split_values in values.items()
    }, [str(value) for value in ordered]


def _check_kinds(splits: dict[str, Dataset], values: dict[str, list[Any]], column: str) -> None:
    kinds = {
        name: "a ClassLabel" if _names(splits[name], column) else " and ".join(sorted(_kinds(split_values)))
        for name, split_values in values.items()
    }
    if len(set().union(*map(_kinds, values.values()))) > 1:
        described = ", ".join(f"{kind} in split {name!r}" for name, kind in kinds.items())
        raise ValueError(
            f"label_column={column!r} mixes text and numbers: it is {described}; write every class in the same way"
        )


def _kinds(values: list[Any]) -> set[str]:
    return {"text" if kind is str else "whole numbers" for kind in set(map(type, values))}


def _names(split: Dataset, column: str) -> list[str]:
    """Names of a ClassLabel, in the order of its numbers; empty for other columns."""
    feature = split.features[column]
    return list(feature.names or []) if isinstance(feature, ClassLabel) else []


def _indices(
    values: list[int], names: list[str], class_names: list[str], column: str, splits: tuple[str, str]
) -> np.ndarray:
    """Indices into ``class_names``, (N,) int64, of values that count ``names``; ``splits`` have the two lists."""
    _check_range(values, len(names), column, splits[0])
    known = set(class_names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"label_column={column!r} of split {splits[0]!r} names the classes {quote_some(unknown)}, which split "
            f"{splits[1]!r} does not have; give both splits the same classes"
        )
    return renumber(np.asarray(values, dtype=np.int64), names, class_names)


def renumber(labels: np.ndarray, names: list[str], class_names: list[str]) -> np.ndarray:
    """Indices into ``class_names`` from indices into ``names``, by name.

    Args:
        labels: (N,) int64 in [0, len(names) − 1].
        names: each of them is among ``class_names``.

    Returns:
        (N,) int64.
    """
    index = {name: position for position, name in enumerate(class_names)}
    return np.asarray([index[name] for name in names], dtype=np.int64)[labels]


def _check_label(value: Any, row: str, column: str) -> None:
    if value is None or value == "" or (isinstance(value, int | float) and value < 0):
        raise ValueError(
            f"row {row} has no label: label_column={column!r} holds {value!r} there, and a data set without labels "
            "cannot be learned from or measured on; remove such rows, or choose other splits with train_split, "
            "validation_split and test_split"
        )
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(
            f"row {row} has the label {value!r} in label_column={column!r}; a label must be one class, as a name or a "
            "whole number. Name another column, or convert this one"
        )


def _check_range(values: list[int], num_classes: int, column: str, split: str) -> None:
    for row, value in enumerate(values):
        if value >= num_classes:
            raise ValueError(
                f"row {split}[{row}] has label {value} in label_column={column!r}, which names {num_classes} "
                f"classes (0 … {num_classes - 1}); correct the label or the list of names"
            )


def check_classes(labels: np.ndarray, class_names: list[str], split: str) -> None:
    """Stop when a split is empty or lacks a class: accuracy over other classes than were trained misleads.

    Args:
        labels: (N,) int64 class indices of the split.

    Raises:
        ValueError: names the split and the classes.
    """
    if len(labels) == 0:
        raise ValueError(f"split {split!r} is empty; choose another split, or add images to it")
    if len(class_names) < 2:
        raise ValueError(
            f"there is one class only ({quote_some(class_names)}), and a classifier needs at least 2; a folder of "
            "images needs one sub-folder for each class"
        )
    counts = np.bincount(labels, minlength=len(class_names))
    missing = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if missing:
        raise ValueError(
            f"split {split!r} has no image of class {quote_some(missing)}, of {len(class_names)} classes; add images "
            "of it, or remove it from the other splits and from the list of names"
        )
