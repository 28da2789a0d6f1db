"""From data arguments and an image processor to the data sets of a run, or of a measurement."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset

from adsr_hf.data.augmentation import Augmentation
from adsr_hf.data.columns import check_classes
from adsr_hf.data.dataset import ImageClassificationDataset
from adsr_hf.data.decoding import ConversionCounts
from adsr_hf.data.extra.leakage import DecodedSplit
from adsr_hf.data.extra.mixed import MixedDataset
from adsr_hf.data.extra.source import ExtraImages, ExtraTable, load_extra, open_extra
from adsr_hf.data.labelled import ImageSplits, load_measured_splits, load_splits
from adsr_hf.data.preparation import PreparedSplit, check_same_size, prepare_split
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.records.sentences import Recorded, sentence, worded
from adsr_hf.settings.data import DataArguments


@dataclass(frozen=True)
class ImageData:
    """The data sets of a run.

    Attributes:
        train: augmented as the arguments say, and mixed with extra images if there are any.
        validation, test: not augmented; None = there is none.
        class_names: name of each class index.
        summary_parts: sizes, classes and the columns that were read; then extra images, conversions, skipped images.
        notes: what was decided on the way, and each skipped image, one sentence each.
    """

    train: ImageClassificationDataset | MixedDataset
    validation: ImageClassificationDataset | None
    test: ImageClassificationDataset | None
    class_names: list[str]
    summary_parts: list[Recorded]
    notes: list[str]

    @property
    def summary(self) -> str:
        """The parts in one line."""
        return "; ".join(map(worded, self.summary_parts))


@dataclass(frozen=True)
class MeasuredData:
    """The images of a measurement.

    Attributes:
        measured: of the role that was asked for; not augmented.
        validation: those that a temperature may be fitted on; None = there are none.
        class_names, summary_parts, notes: as of :class:`ImageData`.
    """

    measured: ImageClassificationDataset
    validation: ImageClassificationDataset | None
    class_names: list[str]
    summary_parts: list[Recorded]
    notes: list[str]

    @property
    def summary(self) -> str:
        """The parts in one line."""
        return "; ".join(map(worded, self.summary_parts))


def load_image_data(arguments: DataArguments, processor: Any, *, seed: int, show_progress: bool = True) -> ImageData:
    """Read, split, decode and check the images of a run.

    Args:
        processor: a Hugging Face image processor, which is followed as it is.
        seed: key of the train augmentation, and of the order of mixed images, together with epoch and index.

    Raises:
        ValueError: for data that cannot be learned from, held-out images among the extra ones, or a processor that
            attacks cannot be used with.
        ImportError: for the digits without scikit-learn.
    """
    splits = load_splits(arguments, show_progress=show_progress)
    # First, so that a wrong place is told before a million images are decoded.
    source = open_extra(arguments, splits.class_names) if arguments.extra_dataset is not None else None
    decoder = _Decoder(arguments, splits, processor, show_progress)
    prepared = {
        name: decoder.decode(table, name, with_digests=source is not None and name != "train")
        for name, table in splits.tables.items()
    }
    for name, split in prepared.items():
        check_same_size(prepared["train"].store.image_shape, "train", split.store.image_shape, name)
        if split.skipped or splits.skipped:
            check_classes(split.labels.numpy(), splits.class_names, name)
    augmentation = Augmentation(
        arguments.crop_padding, arguments.horizontal_flip, arguments.policy_operations, arguments.policy_magnitude
    )
    datasets = {
        name: ImageClassificationDataset(
            split.store,
            split.labels,
            pixel_space=PixelSpace.from_processor(processor),
            class_names=splits.class_names,
            augmentation=augmentation if name == "train" and augmentation.is_on else None,
            seed=seed,
        )
        for name, split in prepared.items()
    }
    train: ImageClassificationDataset | MixedDataset = datasets["train"]
    notes = splits.notes + _skipped(splits, prepared)
    extra: ExtraImages | None = None
    if source is not None:
        extra = _load_extra(arguments, source, processor, datasets["train"], decoder, prepared, show_progress)
        train = MixedDataset(datasets["train"], extra.dataset, fraction=arguments.extra_fraction, seed=seed)
        notes += extra.notes
    return ImageData(
        train=train,
        validation=datasets.get("validation"),
        test=datasets.get("test"),
        class_names=splits.class_names,
        summary_parts=_summary(arguments, splits, prepared, extra),
        notes=notes,
    )


def load_measured_data(
    arguments: DataArguments,
    processor: Any,
    *,
    role: Literal["test", "validation"],
    trained_on: bool,
    seed: int,
    show_progress: bool = True,
) -> MeasuredData:
    """Read, decode and check the images of a measurement; see :func:`adsr_hf.data.labelled.load_measured_splits`.

    Args:
        processor: a Hugging Face image processor, which is followed as it is.
        role: of the split.
        trained_on: whether the model that is measured was trained on this data set.
        seed: of the data sets.

    Raises:
        ValueError: when there are no such images, or for a processor that attacks cannot be used with.
        ImportError: for the digits without scikit-learn.
    """
    splits = load_measured_splits(arguments, role, trained_on=trained_on, show_progress=show_progress)
    decoder = _Decoder(arguments, splits, processor, show_progress)
    prepared = {name: decoder.decode(table, name) for name, table in splits.tables.items()}
    datasets = {
        name: ImageClassificationDataset(
            split.store,
            split.labels,
            pixel_space=PixelSpace.from_processor(processor),
            class_names=splits.class_names,
            seed=seed,
        )
        for name, split in prepared.items()
    }
    for name, split in prepared.items():
        check_same_size(prepared[role].store.image_shape, role, split.store.image_shape, name)
    return MeasuredData(
        measured=datasets[role],
        validation=datasets.get("validation") if role == "test" else None,
        class_names=splits.class_names,
        summary_parts=_summary(arguments, splits, prepared, None),
        notes=splits.notes + _skipped(splits, prepared),
    )


@dataclass(frozen=True)
class _Decoder:
    arguments: DataArguments
    splits: ImageSplits
    processor: Any
    show_progress: bool

    def decode(self, table: Dataset, name: str, *, with_digests: bool = False, keep: bool = True) -> PreparedSplit:
        return prepare_split(
            table,
            image_column=self.splits.image_column,
            label_column=self.splits.label_column,
            reader=self.splits.reader,
            processor=self.processor,
            name=name,
            skip_broken_images=self.arguments.skip_broken_images,
            cache_gigabytes=self.arguments.cache_gigabytes if keep else 0.0,
            with_digests=with_digests,
            show_progress=self.show_progress,
        )


def _load_extra(
    arguments: DataArguments,
    source: ExtraTable,
    processor: Any,
    images: ImageClassificationDataset,
    decoder: _Decoder,
    prepared: dict[str, PreparedSplit],
    show_progress: bool,
) -> ExtraImages:
    """The extra images, none of which is a held-out one, whether it is measured on or left out by a limit."""
    splits = decoder.splits
    held_out = {
        name: [DecodedSplit(table, splits.image_column, prepared[name])]
        for name, table in splits.tables.items()
        if name != "train"
    }
    for name, table in splits.left_out.items():
        left_out = decoder.decode(table, f"what is left out of {name}", with_digests=True, keep=False)
        held_out[name].append(DecodedSplit(table, splits.image_column, left_out))
    return load_extra(arguments, source, processor, images, held_out, show_progress=show_progress)


def _skipped(splits: ImageSplits, prepared: dict[str, PreparedSplit]) -> list[str]:
    reasons = splits.skipped + [reason for split in prepared.values() for reason in split.skipped]
    return [f"skipped: {reason}" for reason in reasons]


def _summary(
    arguments: DataArguments, splits: ImageSplits, prepared: dict[str, PreparedSplit], extra: ExtraImages | None
) -> list[Recorded]:
    sizes = " / ".join(f"{len(split.store):,} {name}" for name, split in prepared.items())
    _, height, width = next(iter(prepared.values())).store.image_shape
    parts: list[Recorded] = [
        f"{Path(arguments.dataset).name}: {sizes} images, {splits.described}, {width}×{height} px"
    ]
    if extra is not None:
        parts.append(extra.summary)
    counts = ConversionCounts()
    for split in prepared.values():
        counts.update(split.counts)
    parts += counts.summary()
    if skipped := len(_skipped(splits, prepared)):
        parts.append(sentence("data.skipped_images" if skipped > 1 else "data.skipped_image", count=skipped))
    return parts
