"""Parquet files: which split each belongs to, and their rows."""

import re
from pathlib import Path

from datasets import ClassLabel, Dataset, Features
from pyarrow import parquet

_SPLIT = re.compile(r"^([A-Za-z]+(?:_[A-Za-z]+)*)(?:[-_.]?\d.*)?$")


def parquet_splits(root: Path, files: list[Path]) -> dict[str, list[Path]]:
    """Files of each split: named by the file (train-00000-of-00001), or by its folder unless that is ``data``.

    Raises:
        ValueError: for a file whose name says no split.
    """
    splits: dict[str, list[Path]] = {}
    for file in files:
        if file.parent != root and file.parent.name != "data":
            name = file.parent.name
        elif match := _SPLIT.match(file.stem):
            name = match[1]
        else:
            raise ValueError(
                f"the split of {file} cannot be told from its name; call it like train-00000.parquet, or put it in a "
                "folder called train"
            )
        splits.setdefault(name, []).append(file)
    return splits


def open_parquet(splits: dict[str, list[Path]]) -> dict[str, Dataset]:
    """Rows of each split, with the columns and the class names that its own files give.

    Raises:
        ValueError: for an empty split, a file that cannot be read, or files of one split that number classes
            differently.
    """
    for name, files in splits.items():
        _check_files(name, files)
    # Not load_dataset("parquet", …), which sends a request for its download counts; and each split alone, since all
    # splits of DatasetDict.from_parquet get the class names of the first, whatever their own say.
    return {name: Dataset.from_parquet([str(file) for file in files], split=name) for name, files in splits.items()}


def _check_files(split: str, files: list[Path]) -> None:
    rows = 0
    first: dict[str, list[str]] = {}
    for position, file in enumerate(files):
        metadata = _read_metadata(file)
        rows += metadata.num_rows
        names = _class_names(Features.from_arrow_schema(metadata.schema.to_arrow_schema()))
        if position == 0:
            first = names
        for column in first.keys() & names.keys():
            if first[column] != names[column]:
                raise ValueError(
                    f"files of split {split!r} number the classes of column {column!r} differently: {files[0]} as "
                    f"{first[column]}, {file} as {names[column]}; write them again with one list of names"
                )
    if rows == 0:
        raise ValueError(f"split {split!r} ({files[0]}) is empty; add rows, or remove the file")


def _class_names(features: Features) -> dict[str, list[str]]:
    """Names of the classes of each column that has such names."""
    return {
        column: list(feature.names)
        for column, feature in features.items()
        if isinstance(feature, ClassLabel) and feature.names
    }


def _read_metadata(file: Path) -> parquet.FileMetaData:
    try:
        return parquet.read_metadata(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as Parquet ({error}); is it cut short? Fetch it again") from error
