"""Folders of images: one sub-folder for each class, below one for each split or not."""

from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image

from adsr_hf.data.splits import quote_some
from adsr_hf.data.walking import LeftOut, find_images, is_image, visible
from adsr_hf.settings.data import HELD_OUT_SPLITS, DataArguments

_ONLY_SPLIT = "train"
_HELD_OUT_NAMES = HELD_OUT_SPLITS | {"testing"}
# Files by which datasets' imagefolder names labels and captions.
METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SPLIT_NAMES = _HELD_OUT_NAMES | {"train", "training"}


def split_folders(root: Path, arguments: DataArguments, *, to_train: bool) -> dict[str, Path]:
    """The folder of each split; ``root`` itself is the train split when its sub-folders are classes.

    ``train`` is a class, not a split, when it holds images itself: a data set of vehicles may well have one.

    Args:
        to_train: one of them must be ``train_split``; otherwise the images are measured on, and any split will do.

    Raises:
        ValueError: when the sub-folders are splits, but without classes in them, or none is called ``train_split``:
            they would become classes.
    """
    folders = _folders(root)
    train_split = arguments.train_split
    asked_for = [train_split] if to_train else [train_split, arguments.validation_split, arguments.test_split]
    if any(path.name in asked_for and not _holds_images(path) for path in folders):
        return {path.name: path for path in folders}
    named = [path for path in folders if path.name.casefold() in _SPLIT_NAMES]
    splits = [path.name for path in named if not _holds_images(path)]
    if named and len(named) == len(folders) and len(splits) < len(named):
        _refuse_metadata(root, named)
        flat = [path.name for path in named if path.name not in splits]
        raise ValueError(
            f"{root} has no folders but {quote_some([path.name for path in named])}, which look like splits, and "
            f"images lie directly in {quote_some(flat)}, so that there are no classes; sort the images into one "
            f"sub-folder for each class, such as {named[0] / 'cat' / '1.png'}, and move images that stand beside "
            "class folders away. If these are the classes, rename one of them"
        )
    if len(splits) > 1 or (splits and len(splits) == len(folders)):
        if not to_train:
            return {path.name: path for path in folders}
        raise ValueError(
            f"{root} has no folder {train_split!r} with classes in it, but {quote_some(splits)}, which look like "
            f"splits and would become classes, test images among the train images; say which to train on, such as "
            f"--train_split {_most_like_train(splits)} (--extra_split for extra images), and which to measure on with "
            "--validation_split and --test_split. If they are classes, rename them"
        )
    return {_ONLY_SPLIT: root}


def _most_like_train(splits: list[str]) -> str:
    return next((name for name in splits if name.casefold().startswith("train")), splits[0])


def open_folders(root: Path, roots: dict[str, Path], notes: list[str]) -> dict[str, Dataset]:
    """The images below each split's class folders, not decoded; what was left out is noted.

    Args:
        root: the folder of the data set.
        roots: of each split.

    Raises:
        ValueError: when no class folder holds an image, two splits share a folder, or a file gives other labels.
    """
    _refuse_metadata(root, list(roots.values()))
    classes = {name: _folders(base) for name, base in roots.items()}
    class_names = sorted({path.name for folders in classes.values() for path in folders})
    index = {name: position for position, name in enumerate(class_names)}
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=class_names)})
    left_out = LeftOut()
    owners: dict[Path, str] = {}
    splits: dict[str, Dataset] = {}
    for name, base in roots.items():
        left_out.look_at(path for path in visible(base.iterdir()) if not path.is_dir())
        images: list[dict[str, str | None]] = []
        labels: list[int] = []
        for folder in classes[name]:
            found, read = find_images(folder, left_out)
            _refuse_shared(read, name, owners)
            images += [{"bytes": None, "path": str(path)} for path in found]
            labels += [index[folder.name]] * len(found)
        splits[name] = Dataset.from_dict({"image": images, "label": labels}, features=features)
    if not any(len(split) for split in splits.values()):
        places = quote_some([str(base) for base in roots.values()])
        raise ValueError(
            f"{places} holds no images in class folders and no Parquet files; put the images in one sub-folder for "
            f"each class, such as {next(iter(roots.values())) / 'cat' / '1.png'}{left_out.as_reason()}"
        )
    notes += left_out.notes()
    return splits


def _refuse_shared(folders: set[Path], split: str, owners: dict[Path, str]) -> None:
    """No folder serves two splits, whatever links lead to it; ``owners`` gets those of this split."""
    for folder in sorted(folders):
        if owners.setdefault(folder, split) != split:
            raise ValueError(
                f"the images in {folder} are in split {owners[folder]!r} and, by a link, in split {split!r} too; no "
                "image may serve two purposes: remove one of the links"
            )


def _refuse_metadata(root: Path, bases: list[Path]) -> None:
    """Labels that a file gives are not to be replaced by the names of folders."""
    for folder in (root, *bases, *(path for base in bases for path in _folders(base))):
        for name in METADATA_NAMES:
            if (folder / name).is_file():
                raise ValueError(
                    f"{folder / name} describes the images, and is not read here: classes are the names of folders. "
                    "If its labels are meant, write image and label into Parquet files first "
                    f"(datasets.load_dataset('imagefolder', data_dir={str(folder)!r})['train'].to_parquet(...)), or "
                    "sort the images into one sub-folder for each class; if the folders are the classes, rename or "
                    "remove the file"
                )


def open_unsorted(base: Path, *, whole: bool) -> Dataset:
    """Every image below ``base``, sorted into classes or not, without labels.

    Args:
        whole: nobody chose ``base`` as a split, so that it may have held-out splits below it.

    Raises:
        ValueError: when there is no image, or, if ``whole``, a sub-folder is called like a held-out split.
    """
    files = find_images(base, LeftOut())[0]
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


def _folders(root: Path) -> list[Path]:
    return [path for path in visible(root.iterdir()) if path.is_dir()]


def _holds_images(folder: Path) -> bool:
    return any(is_image(path) for path in visible(folder.iterdir()))
