"""From a name to labelled splits: Hub, folders of images, Parquet files, scikit-learn's digits."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, load_dataset
from PIL import Image as PillowImage

from adsr_hf.data.arguments import DIGITS, DataArguments
from adsr_hf.data.columns import check_classes, find_columns, read_labels
from adsr_hf.data.folders import open_folders, split_folders, visible
from adsr_hf.data.parquet_files import open_parquet, parquet_splits
from adsr_hf.data.splits import choose_splits, hold_out, stratified_order

# Where a row came from, such as "train[12]": still true after hold-outs and selections, so that errors can name it.
ORIGIN_COLUMN = "adsr_origin"

DIGITS_TEST_IMAGES = 500
_DIGITS_SEED = 0

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True)
class ImageSplits:
    """Labelled splits, not decoded yet.

    Attributes:
        train, validation, test: tables with the image column (``Image(decode=False)``), the label column
            (``ClassLabel``) and ``ORIGIN_COLUMN``; None = there is none.
        class_names: name of each class index.
        notes: what was decided on the way, one sentence each, for people.
    """

    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    class_names: list[str]
    image_column: str
    label_column: str
    notes: list[str]


def load_splits(arguments: DataArguments) -> ImageSplits:
    """Open the data set and make its splits. A local path, and the digits, are read without any network.

    Raises:
        ValueError: for a name that leads nowhere, missing columns, labels or images, an empty split, or a class that
            is missing from a split.
        ImportError: for the digits without scikit-learn.
    """
    notes: list[str] = []
    found = open_dataset(arguments, notes)
    train_name, validation_name, test_name = choose_splits(list(found), arguments)
    used = {name: found[name] for name in (train_name, validation_name, test_name) if name is not None}
    for name, split in used.items():
        if len(split) == 0:
            raise ValueError(f"split {name!r} of dataset={arguments.dataset!r} is empty; choose another split")
    image_column, label_column = find_columns(used[train_name], arguments)
    labels, class_names = read_labels(used, label_column)
    for name, split_labels in labels.items():
        check_classes(split_labels, class_names, name)

    rows: dict[str, tuple[str, np.ndarray]] = {
        role: (name, np.arange(len(used[name])))
        for role, name in (("train", train_name), ("validation", validation_name), ("test", test_name))
        if name is not None
    }
    if "validation" not in rows:
        if arguments.validation_fraction > 0:
            kept, held = hold_out(
                labels[train_name],
                fraction=arguments.validation_fraction,
                seed=arguments.split_seed,
                class_names=class_names,
            )
            rows |= {"train": (train_name, kept), "validation": (train_name, held)}
            notes.append(
                f"validation: {len(held)} images held out from {train_name} (stratified, seed {arguments.split_seed})"
            )
        else:
            notes.append("validation: none, since validation_fraction=0; no model can be selected")
    tables = {
        name: label_table(split, name, labels[name], class_names, image_column, label_column)
        for name, split in used.items()
    }
    selected: dict[str, Dataset] = {}
    for role, (name, indices) in rows.items():
        kept = _limit(role, indices, labels[name], len(class_names), arguments, notes)
        selected[role] = tables[name] if len(kept) == len(tables[name]) else tables[name].select(kept)
    return ImageSplits(
        train=selected["train"],
        validation=selected.get("validation"),
        test=selected.get("test"),
        class_names=class_names,
        image_column=image_column,
        label_column=label_column,
        notes=notes,
    )


def _limit(
    role: str, indices: np.ndarray, labels: np.ndarray, num_classes: int, arguments: DataArguments, notes: list[str]
) -> np.ndarray:
    field = "max_train_images" if role == "train" else "max_eval_images"
    limit = getattr(arguments, field)
    if limit is None or limit >= len(indices):
        return indices
    if limit < num_classes:
        raise ValueError(f"{field}={limit} must be at least {num_classes}, one image for each class")
    notes.append(f"{role}: {limit} of {len(indices)} images ({field}, stratified, seed {arguments.split_seed})")
    return np.sort(indices[stratified_order(labels[indices], arguments.split_seed)[:limit]])


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


def open_dataset(arguments: DataArguments, notes: list[str]) -> dict[str, Dataset]:
    """Every split of a data set as it comes, by name; what was decided on the way is added to ``notes``.

    Raises:
        ValueError: for a name that leads nowhere, or a place without images.
        ImportError: for the digits without scikit-learn.
    """
    places = local_places(arguments)
    if (arguments.dataset == DIGITS or places) and arguments.dataset_config is not None:
        raise ValueError(
            f"dataset_config={arguments.dataset_config!r} is for data sets on the Hub, but dataset="
            f"{arguments.dataset!r} is local; leave it out, or name a sub-folder as the dataset"
        )
    if arguments.dataset == DIGITS:
        return _open_digits()
    if not places:
        return _open_hub(arguments)
    if any(place.is_file() for files in places.values() for place in files):
        return open_parquet(places)
    names = choose_splits(list(places), arguments)
    return open_folders({name: places[name][0] for name in names if name is not None}, notes)


def local_places(arguments: DataArguments) -> dict[str, list[Path]]:
    """Where the images of each split lie: its Parquet files, or its folder alone. Empty for the digits and the Hub.

    Raises:
        ValueError: for another kind of file, or when it cannot be told which split a place belongs to.
    """
    path = Path(arguments.dataset).expanduser()
    if arguments.dataset == DIGITS or not path.exists():
        return {}
    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(f"dataset={arguments.dataset!r} is a file, but not a Parquet file; give a folder instead")
        return {"train": [path]}
    if files := sorted(file for pattern in ("*.parquet", "*/*.parquet") for file in visible(path.glob(pattern))):
        return parquet_splits(path, files)
    return {name: [folder] for name, folder in split_folders(path, arguments.train_split).items()}


def _open_hub(arguments: DataArguments) -> dict[str, Dataset]:
    if not _HUB_NAME.match(arguments.dataset) or arguments.dataset.startswith("."):
        raise ValueError(
            f"dataset={arguments.dataset!r} is neither an existing path nor a Hub name; check the spelling of the "
            f"path, or write a Hub name as owner/name, such as uoft-cs/cifar10, or use {DIGITS!r}"
        )
    try:
        loaded = load_dataset(arguments.dataset, arguments.dataset_config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"dataset={arguments.dataset!r} (dataset_config={arguments.dataset_config!r}) is no local path and could "
            f"not be opened from the Hub: {error} Check name, configuration and connection"
        ) from error
    return dict(loaded)


def _open_digits() -> dict[str, Dataset]:
    """scikit-learn's handwritten digits: 1,297 train and 500 test images, grey levels 0 … 16 brought to 0 … 255."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            f"dataset={DIGITS!r} comes with scikit-learn, which is not installed: pip install 'adsr-hf[demo]'"
        ) from error
    digits = load_digits()
    labels = digits.target.astype(np.int64)
    levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    test = np.zeros(len(labels), dtype=bool)
    test[stratified_order(labels, _DIGITS_SEED)[:DIGITS_TEST_IMAGES]] = True
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    return {
        name: Dataset.from_dict(
            {
                "image": [{"bytes": _png(levels[row]), "path": f"digit-{row:04d}.png"} for row in rows],
                "label": labels[rows].tolist(),
            },
            features=features,
        )
        for name, rows in (("train", np.flatnonzero(~test)), ("test", np.flatnonzero(test)))
    }


def _png(levels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(np.repeat(levels[:, :, None], 3, axis=2)).save(buffer, "PNG")
    return buffer.getvalue()
