"""From the extra_* arguments to extra images, with labels of their own or of a classifier."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from adsr_hf.data.columns import find_columns, find_image_column, read_labels, renumber
from adsr_hf.data.dataset import ImageClassificationDataset
from adsr_hf.data.extra.leakage import DecodedSplit, check_pixels, check_places
from adsr_hf.data.extra.pseudo_labels import PseudoLabeler
from adsr_hf.data.folders import open_unsorted
from adsr_hf.data.labelled import label_table
from adsr_hf.data.preparation import check_same_size, prepare_split
from adsr_hf.data.reading import RowReader
from adsr_hf.data.sources import OpenedDataset, local_places, open_dataset
from adsr_hf.data.splits import choose_splits, quote_some
from adsr_hf.records.sentences import Sentence, sentence, worded
from adsr_hf.settings.data import DIGITS, DataArguments

_NAME = "extra"
_PSEUDO_LABEL_COLUMN = "pseudo_label"
_NO_LABEL = -1


@dataclass(frozen=True)
class ExtraTable:
    """Extra images, not decoded yet.

    Attributes:
        table: like those of :class:`adsr_hf.data.labelled.ImageSplits`, with class indices of the own data set; all
            -1 where labels are still to be given.
    """

    table: Dataset
    image_column: str
    label_column: str
    reader: RowReader


@dataclass(frozen=True)
class ExtraImages:
    """Extra images that are ready to be trained on.

    Attributes:
        dataset: augmented as the own train images are.
        summary: how many, from where, and where their labels come from, in one phrase.
        notes: mean confidence of pseudo-labels, and each skipped image, one sentence each.
    """

    dataset: ImageClassificationDataset
    summary: Sentence
    notes: list[str]


def load_extra(
    arguments: DataArguments,
    source: ExtraTable,
    processor: Any,
    own_images: ImageClassificationDataset,
    held_out: dict[str, list[DecodedSplit]],
    *,
    show_progress: bool = True,
) -> ExtraImages:
    """Decode, check and, if asked for, label the extra images.

    Args:
        arguments: with an ``extra_dataset``.
        source: what :func:`open_extra` found there.
        own_images: the train split that they will be mixed with.
        held_out: the validation and the test split, where they exist, with digests.

    Raises:
        ValueError: for images that do not go with the own ones or are held-out ones, or a labeler that cannot be used.
    """
    labeler = None
    if arguments.extra_pseudo_labeler is not None:
        # First, so that a wrong name is told before a million images are decoded.
        labeler = PseudoLabeler(arguments.extra_pseudo_labeler, own_images.class_names)
    prepared = prepare_split(
        source.table,
        image_column=source.image_column,
        label_column=source.label_column,
        reader=source.reader,
        processor=processor,
        name=_NAME,
        skip_broken_images=arguments.skip_broken_images,
        cache_gigabytes=arguments.cache_gigabytes,
        with_digests=True,
        show_progress=show_progress,
    )
    check_same_size(own_images.store.image_shape, "train", prepared.store.image_shape, "extra_dataset")
    check_pixels(arguments, DecodedSplit(source.table, source.image_column, prepared), held_out)
    labels, label_source = prepared.labels, sentence("data.own_labels")
    notes = [f"skipped: {reason}" for reason in prepared.skipped]
    if labeler is not None:
        found = labeler.label(
            source.table, source.image_column, reader=source.reader, rows=prepared.rows, show_progress=show_progress
        )
        labels = found.labels
        label_source = sentence("data.labels_by", labeler=_public_name(str(arguments.extra_pseudo_labeler)))
        notes.append(f"extra: {worded(label_source)}, mean confidence {found.mean_confidence:.3f}")
    dataset = ImageClassificationDataset(
        prepared.store,
        labels,
        pixel_space=own_images.pixel_space,
        class_names=own_images.class_names,
        augmentation=own_images.augmentation,
        seed=own_images.seed,
    )
    return ExtraImages(dataset, _summary(arguments, len(dataset), label_source), notes)


def _summary(arguments: DataArguments, images: int, labels: Sentence) -> Sentence:
    name = _public_name(str(arguments.extra_dataset))
    return sentence("data.extra_images", fraction=arguments.extra_fraction, images=images, name=name, labels=labels)


def _public_name(place: str) -> str:
    """A Hub name as it is, and of a folder its own name: summaries are published, and paths are nobody's business."""
    return Path(place).absolute().name if Path(place).expanduser().exists() else place


def open_extra(arguments: DataArguments, class_names: list[str]) -> ExtraTable:
    """Open ``extra_dataset``; ``image_column`` and ``label_column`` are looked for there as in ``dataset``.

    Args:
        arguments: with an ``extra_dataset``.
        class_names: of ``dataset``.

    Raises:
        ValueError: for a name that leads nowhere, a missing split, no images, a place where ``dataset`` has held-out
            images, and, with labels of its own, a row without one or a class that ``dataset`` does not have.
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
        opened = _open_split(arguments, described)
        split = opened.splits[arguments.extra_split]
        image_column = find_image_column(split, described)
        if arguments.extra_labels == "own":
            label_column, labels = _own_labels(split, described, class_names)
        else:
            label_column, labels = _PSEUDO_LABEL_COLUMN, np.full(len(split), _NO_LABEL)
        table = label_table(split, _NAME, labels, class_names, image_column, label_column)
    except ValueError as error:
        raise ValueError(f"extra_dataset={arguments.extra_dataset!r}: {error}") from error
    return ExtraTable(table, image_column, label_column, RowReader(arguments.max_image_pixels, opened.folders))


def _own_labels(split: Dataset, described: DataArguments, class_names: list[str]) -> tuple[str, np.ndarray]:
    """The label column, and indices into ``class_names``, (N,) int64."""
    try:
        _, column = find_columns({_NAME: split}, _NAME, described)
        labels, names = read_labels({_NAME: split}, column)
    except ValueError as error:
        raise ValueError(f"{error}; where images have no labels, set extra_labels='pseudo'") from error
    known = set(class_names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"its classes must be among those of dataset, {quote_some(class_names)}, but {quote_some(unknown)} are "
            "not; rename or remove them, or set extra_labels='pseudo'"
        )
    return column, renumber(labels[_NAME], names, class_names)


def _open_split(arguments: DataArguments, described: DataArguments) -> OpenedDataset:
    """A data set with a split ``extra_split``; without labels, a folder's images need not be sorted into classes."""
    root = Path(described.dataset).expanduser()
    unsorted = arguments.extra_labels == "pseudo" and described.dataset != DIGITS and root.is_dir()
    if unsorted and not any(root.rglob("*.parquet")):
        base = _unsorted_base(root, arguments.extra_split)
        check_places(arguments, [base])
        unsorted_images = open_unsorted(base, whole=base == root)
        return OpenedDataset({arguments.extra_split: unsorted_images}, None, has_columns=False)
    if places := local_places(described):
        _check_split(arguments.extra_split, list(places))
        check_places(arguments, places[arguments.extra_split])
    opened = open_dataset(described, [], choose=lambda names: [choose_splits(names, described)[0]])
    _check_split(arguments.extra_split, list(opened.splits))
    return opened


def _check_split(wanted: str, names: list[str]) -> None:
    if wanted not in names:
        raise ValueError(f"extra_split={wanted!r} is not among its splits: {', '.join(sorted(names))}; name one")


def _unsorted_base(root: Path, split: str) -> Path:
    """The sub-folder that is called like the split, or all of ``root`` when nobody asked for a split."""
    if (root / split).is_dir():
        return root / split
    if split != DataArguments.extra_split:
        raise ValueError(
            f"extra_split={split!r} is no folder in {root}; name one of its folders, or leave extra_split out to read "
            "every image below"
        )
    return root
