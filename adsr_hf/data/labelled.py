"""Labelled splits of a data set: its classes, what is held out, and how many images of each split are kept."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from datasets import ClassLabel, Dataset, Image
from datasets.utils import tqdm

from adsr_hf.data.columns import check_classes, find_columns, read_labels
from adsr_hf.data.decoding import BrokenImageError
from adsr_hf.data.reading import RowReader
from adsr_hf.data.sources import ORIGIN_COLUMN, OpenedDataset, open_dataset
from adsr_hf.data.splits import choose_measured, choose_splits, hold_out, quote_some, stratified_order
from adsr_hf.settings.data import DataArguments


@dataclass(frozen=True)
class ImageSplits:
    """Labelled splits, not decoded yet.

    Attributes:
        tables: ``"train"``, ``"validation"`` and ``"test"``, those that there are: the image column
            (``Image(decode=False)``), the label column (``ClassLabel``) and ``ORIGIN_COLUMN``.
        left_out: of the same kind, what a limit has left out of the validation and of the test split.
        class_names: name of each class index.
        reader: of their rows.
        described: the classes, and which columns were read, in one phrase.
        skipped: what was wrong with each image that was left out already.
        notes: what was decided on the way, one sentence each, for people.
    """

    tables: dict[str, Dataset]
    left_out: dict[str, Dataset]
    class_names: list[str]
    image_column: str
    label_column: str
    reader: RowReader
    described: str
    skipped: list[str]
    notes: list[str]

    @property
    def train(self) -> Dataset:
        """The split to train on."""
        return self.tables["train"]

    @property
    def validation(self) -> Dataset | None:
        """The split for model selection; None = there is none."""
        return self.tables.get("validation")

    @property
    def test(self) -> Dataset | None:
        """The split for the final figures; None = there is none."""
        return self.tables.get("test")


def load_splits(arguments: DataArguments, *, show_progress: bool = False) -> ImageSplits:
    """Open the data set and make its splits. A local path, and the digits, are read without any network.

    No image is decoded but with ``skip_broken_images``, where hold-outs and limits draw among those that can be read.

    Raises:
        ValueError: for a name that leads nowhere, missing columns, labels or images, an empty split, or a class that
            is missing from a split.
        ImportError: for the digits without scikit-learn.
    """
    arguments.check_purposes()
    notes: list[str] = []

    def needed(names: list[str]) -> list[str]:
        return [name for name in choose_splits(names, arguments) if name is not None]

    opened = open_dataset(arguments, notes, choose=needed)
    train, validation, test = choose_splits(list(opened.splits), arguments)
    drawing = _Drawing(arguments, opened, needed(list(opened.splits)), train, notes, show_progress=show_progress)
    for name, labels in drawing.labels.items():
        check_classes(labels, drawing.class_names, name)
    drawing.take("train", train)
    if validation is not None:
        drawing.take("validation", validation)
    elif arguments.validation_fraction > 0:
        drawing.hold_out(train)
    else:
        notes.append("validation: none, since validation_fraction=0; no model can be selected")
    if test is not None:
        drawing.take("test", test)
    return drawing.splits()


def load_measured_splits(
    arguments: DataArguments, role: Literal["test", "validation"], *, trained_on: bool, show_progress: bool = False
) -> ImageSplits:
    """Open the data set for a measurement: the split of this role, and with it the validation split of a test split.

    A data set without a test split is measured whole where it has one split only and nothing was trained on it.
    Classes may lack images. The images are those that :func:`load_splits` would give that role.

    Args:
        trained_on: whether the model that is measured was trained on this data set.

    Raises:
        ValueError: as :func:`load_splits`, and when there is no such split.
    """
    notes: list[str] = []

    def needed(names: list[str]) -> list[str]:
        measured, validation = choose_measured(names, arguments, role, trained_on=trained_on)
        # Also the train split, where there is one, for the names of all classes.
        wanted = [arguments.train_split, validation, measured]
        return [name for name in dict.fromkeys(wanted) if name in names]

    opened = open_dataset(arguments, notes, choose=needed, to_train=False)
    names = list(opened.splits)
    measured, validation = choose_measured(names, arguments, role, trained_on=trained_on)
    first = needed(names)[0]
    drawing = _Drawing(arguments, opened, needed(names), first, notes, show_progress=show_progress)
    can_hold_out = arguments.train_split in names and arguments.validation_fraction > 0
    if role == "validation":
        if measured is not None:
            drawing.take("validation", measured)
        elif can_hold_out:
            drawing.hold_out(arguments.train_split)
        return drawing.splits()
    assert measured is not None
    drawing.take("test", measured)
    if measured != "test":
        notes.append(f"test: the split {measured!r}")
    if trained_on and measured == arguments.train_split:
        notes.append("the model was trained on these images, so that the figures say nothing about new ones")
    if validation is not None:
        drawing.take("validation", validation)
    elif can_hold_out and measured != arguments.train_split:
        drawing.hold_out(arguments.train_split)
    return drawing.splits()


class _Drawing:
    """Rows of the splits that a data set has, given to the roles that they play."""

    def __init__(
        self,
        arguments: DataArguments,
        opened: OpenedDataset,
        names: list[str],
        first: str,
        notes: list[str],
        *,
        show_progress: bool,
    ) -> None:
        used = {name: opened.splits[name] for name in names}
        for name, split in used.items():
            if len(split) == 0:
                raise ValueError(f"split {name!r} of dataset={arguments.dataset!r} is empty; choose another split")
        self.arguments, self.notes, self.show_progress = arguments, notes, show_progress
        self.image_column, self.label_column = find_columns(used, first, arguments)
        self.labels, self.class_names = read_labels(used, self.label_column)
        self.reader = RowReader(arguments.max_image_pixels, opened.folders)
        self.described = _described(self.class_names, self.image_column, self.label_column, opened.has_columns)
        self.skipped: list[str] = []
        self._names = names
        self._tables = {
            name: label_table(split, name, self.labels[name], self.class_names, self.image_column, self.label_column)
            for name, split in used.items()
        }
        self._rows: dict[str, tuple[str, np.ndarray]] = {}
        self._readable: dict[str, np.ndarray] = {}

    def take(self, role: str, name: str) -> None:
        """Give a whole split to a role, but for what a limit leaves out."""
        limit = getattr(self.arguments, _limit_field(role))
        limited = limit is not None and limit < len(self._tables[name])
        self._rows[role] = (name, self._drawable(name) if limited else np.arange(len(self._tables[name])))

    def hold_out(self, name: str) -> None:
        """Part a split between train and validation."""
        rows = self._drawable(name)
        kept, held = hold_out(
            self.labels[name][rows],
            fraction=self.arguments.validation_fraction,
            seed=self.arguments.split_seed,
            class_names=self.class_names,
        )
        if "train" in self._rows:
            self._rows["train"] = (name, rows[kept])
        self._rows["validation"] = (name, rows[held])
        self.notes.append(
            f"validation: {len(held)} images held out from {name} (stratified, seed {self.arguments.split_seed})"
        )

    def splits(self) -> ImageSplits:
        """What every role got."""
        tables: dict[str, Dataset] = {}
        left_out: dict[str, Dataset] = {}
        for role in ("train", "validation", "test"):
            if role not in self._rows:
                continue
            name, rows = self._rows[role]
            kept = self._limit(role, rows, self.labels[name])
            tables[role] = _select(self._tables[name], kept)
            if role != "train" and len(kept) < len(rows):
                left_out[role] = _select(self._tables[name], np.setdiff1d(rows, kept))
        return ImageSplits(
            tables=tables,
            left_out=left_out,
            class_names=self.class_names,
            image_column=self.image_column,
            label_column=self.label_column,
            reader=self.reader,
            described=self.described,
            skipped=self.skipped,
            notes=self.notes,
        )

    def _drawable(self, name: str) -> np.ndarray:
        """Rows of a split to draw from, (N,) int64; with ``skip_broken_images`` those whose images can be read."""
        if name not in self._readable:
            table = self._tables[name]
            rows = np.arange(len(table))
            if self.arguments.skip_broken_images:
                reasons = self._broken(table, name)
                rows = np.setdiff1d(rows, list(reasons)).astype(np.int64)
                if not len(rows):
                    raise ValueError(
                        f"split {name!r} has no image that can be read, {len(reasons)} are broken: the first is "
                        f"{next(iter(reasons.values()))}"
                    )
                self.skipped += reasons.values()
            self._readable[name] = rows
        return self._readable[name]

    def _broken(self, table: Dataset, name: str) -> dict[int, str]:
        """What is wrong with each row that cannot be read."""
        reasons: dict[int, str] = {}
        looking = tqdm(
            table, desc=f"Looking for broken images in {name}", unit="image", disable=not self.show_progress
        )
        for row, item in enumerate(looking):
            try:
                self.reader.read(item[self.image_column], item[ORIGIN_COLUMN])
            except BrokenImageError as error:
                reasons[row] = str(error)
        return reasons

    def _limit(self, role: str, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        limit = getattr(self.arguments, _limit_field(role))
        if limit is None or limit >= len(rows):
            return rows
        present = len(np.unique(labels[rows]))
        if limit < present:
            raise ValueError(f"{_limit_field(role)}={limit} must be at least {present}, one image for each class")
        seed = self.arguments.split_seed
        self.notes.append(f"{role}: {limit} of {len(rows)} images ({_limit_field(role)}, stratified, seed {seed})")
        return np.sort(rows[stratified_order(labels[rows], seed)[:limit]])


def _limit_field(role: str) -> str:
    return "max_train_images" if role == "train" else "max_eval_images"


def _select(table: Dataset, rows: np.ndarray) -> Dataset:
    return table if len(rows) == len(table) else table.select(rows)


def _described(class_names: list[str], image_column: str, label_column: str, has_columns: bool) -> str:
    classes = f"{len(class_names)} classes ({quote_some(class_names)})"
    return f"{classes} of column {label_column!r}, images of column {image_column!r}" if has_columns else classes


def label_table(
    split: Dataset, name: str, labels: np.ndarray, class_names: list[str], image_column: str, label_column: str
) -> Dataset:
    """The split's images, not decoded, with these labels and ``ORIGIN_COLUMN``.

    Args:
        labels: (N,) int64 class indices.

    Raises:
        ValueError: when the image column holds something else.
    """
    table = split.select_columns([image_column])
    try:
        table = table.cast_column(image_column, Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"image_column={image_column!r} of split {name!r} holds {split.features[image_column]}, not images; its "
            f"columns are: {', '.join(split.column_names)}. Set image_column to the one with images ({error})"
        ) from error
    table = table.add_column(label_column, labels.tolist(), feature=ClassLabel(names=class_names))
    return table.add_column(ORIGIN_COLUMN, [f"{name}[{row}]" for row in range(len(split))])
