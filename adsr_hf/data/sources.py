"""From a name to tables: Hub, folders of images, Parquet files, scikit-learn's digits."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, config, load_dataset
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image as PillowImage

from adsr_hf.data.folders import METADATA_NAMES, open_folders, split_folders
from adsr_hf.data.parquet_files import open_parquet, parquet_splits
from adsr_hf.data.splits import stratified_order
from adsr_hf.data.walking import visible
from adsr_hf.settings.data import DIGITS, DataArguments

# Where a row came from, such as "train[12]": still true after hold-outs and selections, so that errors can name it.
ORIGIN_COLUMN = "adsr_origin"

DIGITS_TEST_IMAGES = 500
_DIGITS_SEED = 0

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True)
class OpenedDataset:
    """The splits of a data set as they come.

    Attributes:
        splits: tables by the name of their split.
        folders: where the paths that rows name must lead; None = anywhere, since they were found by looking.
        has_columns: whether its columns are its own, and not made here.
    """

    splits: dict[str, Dataset]
    folders: tuple[Path, ...] | None
    has_columns: bool


def open_dataset(
    arguments: DataArguments, notes: list[str], *, choose: Callable[[list[str]], list[str]], to_train: bool = True
) -> OpenedDataset:
    """The splits of a data set as they come; what was decided on the way is added to ``notes``.

    Args:
        choose: which of the splits with these names are needed; of a folder of images the others are not looked into.
        to_train: see :func:`local_places`.

    Raises:
        ValueError: for a name that leads nowhere, or a place without images.
        ImportError: for the digits without scikit-learn.
    """
    places = local_places(arguments, to_train=to_train)
    if (arguments.dataset == DIGITS or places) and arguments.dataset_config is not None:
        raise ValueError(
            f"dataset_config={arguments.dataset_config!r} is for data sets on the Hub, but dataset="
            f"{arguments.dataset!r} is local; leave it out, or name a sub-folder as the dataset"
        )
    if arguments.dataset == DIGITS:
        return OpenedDataset(_open_digits(), None, has_columns=False)
    if not places:
        # What datasets has downloaded and unpacked lies there.
        caches = (Path(config.HF_DATASETS_CACHE), Path(config.DOWNLOADED_DATASETS_PATH), Path(HF_HUB_CACHE))
        return OpenedDataset(_open_hub(arguments), caches, has_columns=True)
    root = Path(arguments.dataset).expanduser()
    if any(place.is_file() for files in places.values() for place in files):
        folder = root if root.is_dir() else root.parent
        return OpenedDataset(open_parquet(places), (folder.absolute(),), has_columns=True)
    chosen = choose(list(places))
    return OpenedDataset(
        open_folders(root, {name: places[name][0] for name in chosen}, notes), None, has_columns=False
    )


def local_places(arguments: DataArguments, *, to_train: bool = True) -> dict[str, list[Path]]:
    """Where the images of each split lie: its Parquet files, or its folder alone. Empty for the digits and the Hub.

    Args:
        to_train: a train split is needed; otherwise any splits will do.

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
    if files := sorted(
        file
        for pattern in ("*.parquet", "*/*.parquet")
        for file in visible(path.glob(pattern))
        if file.name not in METADATA_NAMES
    ):
        return parquet_splits(path, files)
    return {name: [folder] for name, folder in split_folders(path, arguments, to_train=to_train).items()}


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
