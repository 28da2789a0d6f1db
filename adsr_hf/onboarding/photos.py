"""What a folder of photos holds, before anything is decoded: splits, classes, counts and sizes."""

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from datasets import Dataset
from PIL import Image, UnidentifiedImageError

from adsr_hf.data.decoding import BrokenImageError, decode_image
from adsr_hf.data.labelled import ImageSplits, load_splits
from adsr_hf.data.walking import is_image, visible
from adsr_hf.settings.data import DIGITS, DataArguments

# Sizes are read from the heads of so many files, from all over the train split.
_SAMPLED = 200


@dataclass(frozen=True)
class Photos:
    """A data set as ``adsr train`` will read it.

    Attributes:
        place: as the user named it.
        counts: class name to number of train images.
        images: split to number of images, those held out from train as ``"validation"``.
        short_sides: of the sampled images in pixels, ascending; never empty.
        unreadable: number of sampled files that are no images.
        notes: what was decided on the way.
    """

    place: str
    counts: dict[str, int]
    images: dict[str, int]
    short_sides: list[int]
    unreadable: int
    notes: list[str]

    @property
    def side(self) -> int:
        """The median of the short sides, in pixels."""
        return int(median(self.short_sides))


def look_at(place: str) -> Photos:
    """Read names, labels and sizes; no image is decoded.

    Args:
        place: a folder with a sub-folder for each class, with or without splits, or a folder of Parquet files.

    Raises:
        ValueError: when the place is no folder or holds no images in class folders, there is one class only, the
            folders lie too deep to tell which are the classes, or no sampled file is an image.
    """
    splits = _splits_of(place)
    labels = splits.train[splits.label_column]
    counts = {name: labels.count(index) for index, name in enumerate(splits.class_names)}
    sides, unreadable = _short_sides(splits.train, splits.image_column)
    if not sides:
        raise ValueError(
            f"none of {unreadable} files of {place} that were looked at can be read as an image; are they whole?"
        )
    return Photos(
        place=_unambiguous(place),
        counts=counts,
        images={name: len(table) for name, table in splits.tables.items()},
        short_sides=sides,
        unreadable=unreadable,
        notes=list(splits.notes),
    )


def sampled_photos(place: str, number: int) -> list[tuple[str, Image.Image]]:
    """Name and RGB image of at most so many train images, from all over the classes.

    Raises:
        ValueError: as :func:`look_at`.
    """
    splits = _splits_of(place)
    step = max(1, len(splits.train) // number)
    rows = splits.train.select(range(0, len(splits.train), step)[:number])
    names = [splits.class_names[label] for label in rows[splits.label_column]]
    found = []
    for name, row in zip(names, rows[splits.image_column], strict=True):
        with suppress(BrokenImageError):
            found.append((name, decode_image(row["path"] if row["bytes"] is None else row["bytes"], name=name)[0]))
    if not found:
        raise ValueError(f"none of {len(names)} files of {place} that were looked at can be read; are they whole?")
    return found


def _unambiguous(place: str) -> str:
    # The bare word is another data set.
    return f"./{place}" if place == DIGITS else place


def _splits_of(place: str) -> ImageSplits:
    root = Path(place)
    if not root.is_dir():
        raise ValueError(
            f"PHOTOS={place!r} is no folder; name one with a sub-folder for each class, such as {root / 'good'} and "
            f"{root / 'defective'}"
        )
    splits = load_splits(DataArguments(dataset=_unambiguous(place)))
    _refuse_deep(root, splits.class_names)
    return splits


def _refuse_deep(root: Path, class_names: list[str]) -> None:
    """Images that lie only in folders below the class folders may well have their classes there."""
    folders = [root / name for name in class_names if (root / name).is_dir()]
    if not folders or any(is_image(path) for folder in folders for path in visible(folder.iterdir())):
        return
    below = sorted({path.name for folder in folders for path in visible(folder.iterdir()) if path.is_dir()})
    raise ValueError(
        f"{root} holds folders of folders: {', '.join(class_names[:5])} would be the classes, but their images lie in "
        f"folders below, such as {', '.join(below[:5])}. If those are the classes, name one of {folders[0]} and its "
        "like, or merge them into one folder for each class; if not, move the images up"
    )


def _short_sides(table: Dataset, column: str) -> tuple[list[int], int]:
    step = max(1, len(table) // _SAMPLED)
    sides, unreadable = [], 0
    for row in table.select(range(0, len(table), step))[column]:
        try:
            with Image.open(_file_of(row)) as image:
                sides.append(min(image.size))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            unreadable += 1
    return sorted(sides), unreadable


def _file_of(row: dict[str, Any]) -> Any:
    return row["path"] if row["bytes"] is None else io.BytesIO(row["bytes"])
