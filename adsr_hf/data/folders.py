"""Folders of images: one sub-folder for each class, below one for each split or not."""

from collections.abc import Iterable
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage

from adsr_hf.data.arguments import HELD_OUT_SPLITS
from adsr_hf.data.splits import quote_some

_ONLY_SPLIT = "train"
_HELD_OUT_NAMES = HELD_OUT_SPLITS | {"testing"}
_SPLIT_NAMES = _HELD_OUT_NAMES | {"train", "training"}


def split_folders(root: Path, train_split: str) -> dict[str, Path]:
    """The folder of each split; ``root`` itself is the train split when its sub-folders are classes.

    ``train`` is a class, not a split, when it holds images itself: a data set of vehicles may well have one.

    Raises:
        ValueError: when the sub-folders are splits, but none is called ``train_split``: they would become classes.
    """
    folders = _folders(root)
    train = root / train_split
    if train in folders and not _holds_images(train):
        return {path.name: path for path in folders}
    splits = [path.name for path in folders if path.name.casefold() in _SPLIT_NAMES and not _holds_images(path)]
    if len(splits) > 1:
        raise ValueError(
            f"{root} has no folder {train_split!r} with classes in it, but {quote_some(splits)}, which look like "
            f"splits and would become classes, test images among the train images; say which to train on, such as "
            f"--train_split {_most_like_train(splits)} (--extra_split for extra images), and which to measure on with "
            "--validation_split and --test_split. If they are classes, rename them"
        )
    return {_ONLY_SPLIT: root}


def _most_like_train(splits: list[str]) -> str:
    return next((name for name in splits if name.casefold().startswith("train")), splits[0])


def open_folders(roots: dict[str, Path], notes: list[str]) -> dict[str, Dataset]:
    """The images below each split's class folders, not decoded; files that were left out are noted.

    Raises:
        ValueError: when no class folder holds an image.
    """
    class_names = sorted({path.name for base in roots.values() for path in _folders(base)})
    ignored = 0
    splits: dict[str, Dataset] = {}
    for name, base in roots.items():
        images: list[dict[str, str | None]] = []
        labels: list[int] = []
        for path in visible(file for file in base.rglob("*") if file.is_file()):
            inner = path.relative_to(base).parts
            if any(part.startswith(".") for part in inner):
                continue
            if len(inner) < 2 or not is_image(path):
                ignored += 1
                continue
            images.append({"bytes": None, "path": str(path)})
            labels.append(class_names.index(inner[0]))
        features = Features({"image": Image(decode=False), "label": ClassLabel(names=class_names)})
        splits[name] = Dataset.from_dict({"image": images, "label": labels}, features=features)
    if not any(len(split) for split in splits.values()):
        places = quote_some([str(base) for base in roots.values()])
        raise ValueError(
            f"{places} holds no images in class folders and no Parquet files; put the images in one sub-folder for "
            f"each class, such as {next(iter(roots.values())) / 'cat' / '1.png'}"
        )
    if ignored:
        notes.append(f"{ignored} files were left out: no images, or outside the class folders")
    return splits


def open_unsorted(base: Path, *, whole: bool) -> Dataset:
    """Every image below ``base``, sorted into classes or not, without labels.

    Args:
        whole: nobody chose ``base`` as a split, so that it may have held-out splits below it.

    Raises:
        ValueError: when there is no image, or, if ``whole``, a sub-folder is called like a held-out split.
    """
    files = [path for path in visible(base.rglob("*")) if is_image(path)]
    if not files:
        raise ValueError(f"{base} holds no images; give a folder with images in it, sorted into sub-folders or not")
    if whole:
        inner = {part for path in files for part in path.relative_to(base).parts[:-1]}
        held_out = sorted(name for name in inner if name.casefold() in _HELD_OUT_NAMES)
        if held_out:
            raise ValueError(
                f"{base} would be read as a whole, but has sub-folders called like held-out splits: "
                f"{quote_some(held_out)}; no held-out image may be trained on: name the sub-folder to read with "
                "extra_split, or rename those that are no splits"
            )
    images = [{"bytes": None, "path": str(path)} for path in files]
    return Dataset.from_dict({"image": images}, features=Features({"image": Image(decode=False)}))


def visible(paths: Iterable[Path]) -> list[Path]:
    """Those that are not hidden, in order."""
    return sorted(path for path in paths if not path.name.startswith("."))


def is_image(path: Path) -> bool:
    """Whether a path is a file that Pillow has a reader for, by its name."""
    kind = PillowImage.registered_extensions().get(path.suffix.lower())
    return kind in PillowImage.OPEN and path.is_file()


def _folders(root: Path) -> list[Path]:
    return [path for path in visible(root.iterdir()) if path.is_dir()]


def _holds_images(folder: Path) -> bool:
    return any(is_image(path) for path in visible(folder.iterdir()))
