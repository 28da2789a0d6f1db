"""From data arguments and an image processor to the data sets of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adsr_hf.attacks.pixels import PixelSpace
from adsr_hf.data.arguments import DataArguments
from adsr_hf.data.augmentation import Augmentation
from adsr_hf.data.columns import check_classes
from adsr_hf.data.dataset import ImageClassificationDataset
from adsr_hf.data.extra import MixedDataset
from adsr_hf.data.extra_source import ExtraImages, load_extra, open_extra
from adsr_hf.data.held_out import DecodedSplit
from adsr_hf.data.images import ConversionCounts
from adsr_hf.data.preparation import PreparedSplit, check_same_size, prepare_split
from adsr_hf.data.sources import load_splits


@dataclass(frozen=True)
class ImageData:
    """The data sets of a run.

    Attributes:
        train: augmented as the arguments say, and mixed with extra images if there are any.
        validation, test: not augmented; None = there is none.
        class_names: name of each class index.
        summary: sizes, classes, conversions and skipped images, in one line.
        notes: what was decided on the way, and each skipped image, one sentence each.
    """

    train: ImageClassificationDataset | MixedDataset
    validation: ImageClassificationDataset | None
    test: ImageClassificationDataset | None
    class_names: list[str]
    summary: str
    notes: list[str]


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
    splits = load_splits(arguments)
    # First, so that a wrong place is told before a million images are decoded.
    source = open_extra(arguments, splits.class_names) if arguments.extra_dataset is not None else None
    tables = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    prepared = {
        name: prepare_split(
            table,
            image_column=splits.image_column,
            label_column=splits.label_column,
            processor=processor,
            name=name,
            skip_broken_images=arguments.skip_broken_images,
            cache_gigabytes=arguments.cache_gigabytes,
            with_digests=source is not None and name != "train",
            show_progress=show_progress,
        )
        for name, table in tables.items()
        if table is not None
    }
    train_shape = prepared["train"].store.image_shape
    for name, split in prepared.items():
        check_same_size(train_shape, "train", split.store.image_shape, name)
        if split.skipped:
            check_classes(split.labels.numpy(), splits.class_names, name)
    pixel_space = PixelSpace.from_processor(processor)
    augmentation = Augmentation(
        arguments.crop_padding, arguments.horizontal_flip, arguments.policy_operations, arguments.policy_magnitude
    )
    datasets = {
        name: ImageClassificationDataset(
            split.store,
            split.labels,
            pixel_space=pixel_space,
            class_names=splits.class_names,
            augmentation=augmentation if name == "train" and augmentation.is_on else None,
            seed=seed,
        )
        for name, split in prepared.items()
    }
    train: ImageClassificationDataset | MixedDataset = datasets["train"]
    notes = splits.notes + [f"skipped: {reason}" for split in prepared.values() for reason in split.skipped]
    extra: ExtraImages | None = None
    if source is not None:
        held_out = {
            name: DecodedSplit(table, splits.image_column, prepared[name])
            for name, table in tables.items()
            if table is not None and name != "train"
        }
        extra = load_extra(arguments, source, processor, datasets["train"], held_out, show_progress=show_progress)
        train = MixedDataset(datasets["train"], extra.dataset, fraction=arguments.extra_fraction, seed=seed)
        notes += extra.notes
    return ImageData(
        train=train,
        validation=datasets.get("validation"),
        test=datasets.get("test"),
        class_names=splits.class_names,
        summary=_summary(arguments, prepared, len(splits.class_names), extra),
        notes=notes,
    )


def _summary(
    arguments: DataArguments, prepared: dict[str, PreparedSplit], num_classes: int, extra: ExtraImages | None
) -> str:
    sizes = " / ".join(f"{len(split.store):,} {name}" for name, split in prepared.items())
    _, height, width = prepared["train"].store.image_shape
    parts = [f"{Path(arguments.dataset).name}: {sizes} images, {num_classes} classes, {width}×{height} px"]
    if extra is not None:
        parts.append(extra.summary)
    counts = ConversionCounts()
    for split in prepared.values():
        counts.update(split.counts)
    if converted := counts.summary():
        parts.append(converted)
    if skipped := sum(len(split.skipped) for split in prepared.values()):
        parts.append(f"{skipped} broken image{'s' if skipped > 1 else ''} skipped")
    return "; ".join(parts)
