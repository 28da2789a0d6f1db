"""From the extra_* arguments to extra images, with labels of their own or of a classifier."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Image

from adsr_hf.data.arguments import DataArguments
from adsr_hf.data.columns import find_columns, find_image_column, read_labels
from adsr_hf.data.dataset import ImageClassificationDataset
from adsr_hf.data.folders import is_image, visible
from adsr_hf.data.preparation import check_same_size, prepare_split
from adsr_hf.data.pseudo_labels import PseudoLabeler
from adsr_hf.data.sources import label_table, open_dataset

_NAME = "extra"
_PSEUDO_LABEL_COLUMN = "pseudo_label"
_NO_LABEL = -1


@dataclass(frozen=True)
class ExtraTable:
    """Extra images, not decoded yet.

    Attributes:
        table: like those of :class:`adsr_hf.data.sources.ImageSplits`, with class indices of the own data set; all
            -1 where labels are still to be given.
    """

    table: Dataset
    image_column: str
    label_column: str


@dataclass(frozen=True)
class ExtraImages:
    """Extra images that are ready to be trained on.

    Attributes:
        dataset: augmented as the own train images are.
        summary: how many, from where, and where their labels come from, in one phrase.
        notes: mean confidence of pseudo-labels, and each skipped image, one sentence each.
    """

    dataset: ImageClassificationDataset
    summary: str
    notes: list[str]


def load_extra(
    arguments: DataArguments, processor: Any, own: ImageClassificationDataset, *, show_progress: bool = True
) -> ExtraImages:
    """Read, decode, check and, if asked for, label the extra images.

    Args:
        arguments: with an ``extra_dataset``.
        own: the train split that they will be mixed with.

    Raises:
        ValueError: for images or labels that do not go with the own ones, or a labeler that cannot be used.
    """
    labeler = None
    if arguments.extra_pseudo_labeler is not None:
        # First, so that a wrong name is told before a million images are decoded.
        labeler = PseudoLabeler(arguments.extra_pseudo_labeler, own.class_names)
    source = open_extra(arguments, own.class_names)
    prepared = prepare_split(
        source.table,
        image_column=source.image_column,
        label_column=source.label_column,
        processor=processor,
        name=_NAME,
        skip_broken_images=arguments.skip_broken_images,
        cache_gigabytes=arguments.cache_gigabytes,
        show_progress=show_progress,
    )
    check_same_size(own.store.image_shape, "train", prepared.store.image_shape, "extra_dataset")
    labels, label_source = prepared.labels, "its own labels"
    notes = [f"skipped: {reason}" for reason in prepared.skipped]
    if labeler is not None:
        found = labeler.label(source.table, source.image_column, rows=prepared.rows, show_progress=show_progress)
        labels, label_source = found.labels, f"labels by {_public_name(str(arguments.extra_pseudo_labeler))}"
        notes.append(f"extra: {label_source}, mean confidence {found.mean_confidence:.3f}")
    dataset = ImageClassificationDataset(
        prepared.store,
        labels,
        pixel_space=own.pixel_space,
        class_names=own.class_names,
        augmentation=own.augmentation,
        seed=own.seed,
    )
    return ExtraImages(dataset, _summary(arguments, len(dataset), label_source), notes)


def _summary(arguments: DataArguments, images: int, label_source: str) -> str:
    name = _public_name(str(arguments.extra_dataset))
    return f"{arguments.extra_fraction:.3g} of each batch from {images:,} extra images ({name}, {label_source})"


def _public_name(place: str) -> str:
    """A Hub name as it is, and of a folder its own name: summaries are published, and paths are nobody's business."""
    return Path(place).absolute().name if Path(place).expanduser().exists() else place


def open_extra(arguments: DataArguments, class_names: list[str]) -> ExtraTable:
    """Open ``extra_dataset``; ``image_column`` and ``label_column`` are looked for there as in ``dataset``.

    Args:
        arguments: with an ``extra_dataset``.
        class_names: of ``dataset``.

    Raises:
        ValueError: for a name that leads nowhere, a missing split, no images, and, with labels of its own, a row
            without one or a class that ``dataset`` does not have.
    """
    defaults: dict[str, Any] = {
        item.name: item.default for item in fields(arguments) if item.name.startswith("extra_")
    }
    described = replace(
        arguments,
        dataset=str(arguments.extra_dataset),
        dataset_config=arguments.extra_config,
        train_split=arguments.extra_split,
        validation_split=None,
        test_split=None,
        **defaults,
    )
    try:
        split = _open_split(described, labelled=arguments.extra_labels == "own")
        image_column = find_image_column(split, described)
        if arguments.extra_labels == "own":
            label_column, labels = _own_labels(split, described, class_names)
        else:
            label_column, labels = _PSEUDO_LABEL_COLUMN, np.full(len(split), _NO_LABEL)
        table = label_table(split, _NAME, labels, class_names, image_column, label_column)
    except ValueError as error:
        raise ValueError(f"extra_dataset={arguments.extra_dataset!r}: {error}") from error
    return ExtraTable(table, image_column, label_column)


def _own_labels(split: Dataset, described: DataArguments, class_names: list[str]) -> tuple[str, np.ndarray]:
    """The label column, and indices into ``class_names``, (N,) int64."""
    try:
        _, column = find_columns(split, described)
        labels, names = read_labels({_NAME: split}, column)
    except ValueError as error:
        raise ValueError(f"{error}; where images have no labels, set extra_labels='pseudo'") from error
    return column, _renumber(labels[_NAME], names, class_names)


def _open_split(described: DataArguments, *, labelled: bool) -> Dataset:
    """The split called ``train_split``; without labels, a folder's images need not be sorted into classes."""
    root = Path(described.dataset).expanduser()
    if not labelled and root.is_dir() and not any(root.rglob("*.parquet")):
        return _open_unsorted(root, described.train_split)
    splits = open_dataset(described, [])
    if described.train_split not in splits:
        raise ValueError(
            f"extra_split={described.train_split!r} is not among its splits: {', '.join(sorted(splits))}; name one"
        )
    return splits[described.train_split]


def _open_unsorted(root: Path, split: str) -> Dataset:
    """Every image below ``root``, or below the sub-folder that is called like the split, if there is one."""
    base = root / split if (root / split).is_dir() else root
    files = [path for path in visible(base.rglob("*")) if is_image(path)]
    if not files:
        raise ValueError(f"{base} holds no images; give a folder with images in it, sorted into sub-folders or not")
    images = [{"bytes": None, "path": str(path)} for path in files]
    return Dataset.from_dict({"image": images}, features=Features({"image": Image(decode=False)}))


def _renumber(labels: np.ndarray, names: list[str], class_names: list[str]) -> np.ndarray:
    """Indices into ``class_names`` from indices into ``names``, (N,) int64, by name."""
    unknown = [name for name in names if name not in class_names]
    if unknown:
        raise ValueError(
            f"its classes {names} must be among those of dataset, {class_names}, but {unknown} are not; rename or "
            "remove them, or set extra_labels='pseudo'"
        )
    return np.asarray([class_names.index(name) for name in names], dtype=np.int64)[labels]
