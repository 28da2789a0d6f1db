"""Held-out images do not come back as extra ones: not by another spelling of their place, nor as copies."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PillowImage

from adsr_hf.data import DataArguments, ImageData, MixedDataset, load_image_data, sources
from tests.tiny import tiny_processor, tiny_vit

Folder = Callable[..., Path]
CLASSES = ["cat", "dog"]


@pytest.fixture
def load(make_processor: Callable[..., Any]) -> Callable[..., ImageData]:
    def run(dataset: Path | str, extra: Path | str, **changes: Any) -> ImageData:
        settings: dict[str, Any] = {"dataset": str(dataset), "extra_dataset": str(extra), "crop_padding": 0}
        return load_image_data(DataArguments(**(settings | changes)), make_processor(8), seed=1, show_progress=False)

    return run


@pytest.fixture
def labeler(tmp_path: Path) -> dict[str, str]:
    model = tiny_vit(num_labels=2, id2label=dict(enumerate(CLASSES)), label2id={"cat": 0, "dog": 1})
    model.save_pretrained(tmp_path / "labeler")
    tiny_processor().save_pretrained(tmp_path / "labeler")
    return {"extra_labels": "pseudo", "extra_pseudo_labeler": str(tmp_path / "labeler")}


@pytest.fixture
def split(image_folder: Folder) -> Path:
    return image_folder({f"{split}/{name}": 6 for split in ("train", "test") for name in CLASSES}, name="split")


@pytest.fixture
def flat(image_folder: Folder) -> Path:
    return image_folder(dict.fromkeys(CLASSES, 10), name="flat")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def extra_pixels(data: ImageData) -> set[bytes]:
    assert isinstance(data.train, MixedDataset)
    return {image.numpy().tobytes() for image in data.train.extra.pixels(range(len(data.train.extra)))}


@pytest.mark.parametrize("end", ["/", "/.", "/train/.."])
@pytest.mark.parametrize("name", ["train", "test"])
def test_another_spelling_of_the_same_place_is_the_same_place(split: Path, end: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"extra_split='{name}' is what dataset trains or measures on already"):
        DataArguments(dataset=str(split), extra_dataset=f"{split}{end}", extra_split=name)


def test_a_link_to_the_same_place_is_the_same_place(split: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(split)
    with pytest.raises(ValueError, match=r"extra_split='test' is what dataset trains or measures on already"):
        DataArguments(dataset=str(split), extra_dataset=str(tmp_path / "link"), extra_split="test")


@pytest.mark.parametrize(
    ("ours", "theirs", "is_same"), [(None, "a", True), ("a", None, True), ("a", "a", True), ("a", "b", False)]
)
def test_a_configuration_left_out_may_be_any(ours: str | None, theirs: str | None, is_same: bool) -> None:
    settings: dict[str, Any] = {"dataset": "owner/svhn", "extra_dataset": "owner/svhn", "extra_split": "test"}
    settings |= {"dataset_config": ours, "extra_config": theirs}
    if is_same:
        with pytest.raises(ValueError, match=r"dataset_config=.*extra_config=.*name two different ones"):
            DataArguments(**settings)
    else:
        assert DataArguments(**settings).extra_config == theirs


@pytest.mark.parametrize("place", ["test", "test/cat/..", "train", "test/.."])
def test_a_folder_with_held_out_images_is_refused(split: Path, load: Callable[..., ImageData], place: str) -> None:
    with pytest.raises(ValueError, match=r"extra_dataset='.*(held out for (validation|test)|measures on already)"):
        load(split, split / place)


@pytest.mark.parametrize("place", ["", "/cat", "/../flat"])
def test_images_that_validation_is_held_out_from_are_refused(
    flat: Path, labeler: dict, load: Callable[..., ImageData], place: str
) -> None:
    with pytest.raises(ValueError, match=r"(held out for validation|measures on already)"):
        load(flat, f"{flat}{place}", **labeler)


def test_a_folder_around_the_held_out_ones_is_refused(
    flat: Path, labeler: dict, load: Callable[..., ImageData]
) -> None:
    with pytest.raises(ValueError, match=r"reads .*, but dataset='.*flat' .* held out for validation in .*flat;"):
        load(flat, flat.parent, **labeler)


@pytest.mark.parametrize("labels", ["own", "pseudo"])
def test_a_split_of_its_own_beside_the_others_is_used(
    image_folder: Folder, split: Path, labeler: dict, load: Callable[..., ImageData], labels: str
) -> None:
    changes = labeler if labels == "pseudo" else {}
    image_folder({f"extra/{name}": 1 for name in CLASSES}, name="split")
    by_split, by_folder = load(split, split, extra_split="extra", **changes), load(split, split / "extra", **changes)
    for data in (by_split, by_folder):
        assert len(extra_pixels(data)) == 2


def test_train_images_may_be_extra_ones_when_validation_has_its_own(
    image_folder: Folder, load: Callable[..., ImageData]
) -> None:
    root = image_folder({f"{split}/{name}": 3 for split in ("train", "val", "test") for name in CLASSES}, name="three")
    assert len(extra_pixels(load(root, root / "train"))) == 6


@pytest.mark.parametrize("labels", ["own", "pseudo"])
@pytest.mark.parametrize("kind", ["split", "flat"])
def test_a_split_that_does_not_exist_is_not_all_images(
    request: pytest.FixtureRequest, labeler: dict, load: Callable[..., ImageData], labels: str, kind: str
) -> None:
    root = request.getfixturevalue(kind)
    with pytest.raises(
        ValueError, match=r"extra_split='unlabeled' is|no folder 'unlabeled' with classes in it, but 'test', 'train'"
    ):
        load(root, root, extra_split="unlabeled", **(labeler if labels == "pseudo" else {}))


@pytest.mark.parametrize("held_out", ["test", "deep/Validation"])
def test_an_unsorted_folder_with_held_out_splits_is_not_read_as_a_whole(
    image_folder: Folder, flat: Path, labeler: dict, load: Callable[..., ImageData], held_out: str
) -> None:
    web = image_folder({"some": 2, held_out: 2}, name="web")
    with pytest.raises(ValueError, match=rf"sub-folders called like held-out splits: '{held_out.split('/')[-1]}'"):
        load(flat, web, **labeler)
    assert len(extra_pixels(load(flat, web, extra_split="some", **labeler))) == 2


def test_parquet_files_that_held_out_images_come_from_are_refused(
    tmp_path: Path, load: Callable[..., ImageData]
) -> None:
    write_parquet(tmp_path / "set", {"train": 0, "test": 1, "more": 2})
    with pytest.raises(ValueError, match=r"test-0\.parquet, but dataset='.*held out for test in "):
        load(tmp_path / "set", tmp_path / "set" / "test-0.parquet")
    with pytest.raises(ValueError, match=r"train-0\.parquet, but dataset='.*held out for validation in "):
        load(tmp_path / "set", tmp_path / "set" / "train-0.parquet")
    assert len(extra_pixels(load(tmp_path / "set", tmp_path / "set" / "more-0.parquet"))) == 8


def write_parquet(folder: Path, seeds: dict[str, int]) -> None:
    folder.mkdir()
    for name, seed in seeds.items():
        pictures_of(seed).to_parquet(folder / f"{name}-0.parquet")


def pictures_of(seed: int, count: int = 8) -> Dataset:
    random = np.random.default_rng(seed)
    pictures = [PillowImage.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(count)]
    features = Features({"image": Image(), "label": ClassLabel(names=CLASSES)})
    return Dataset.from_dict({"image": pictures, "label": [0, 1] * (count // 2)}, features=features)


@pytest.mark.parametrize("cache_gigabytes", [4.0, 0.0])
@pytest.mark.parametrize("labels", ["own", "pseudo"])
def test_copies_of_held_out_images_are_refused(
    image_folder: Folder,
    split: Path,
    labeler: dict,
    load: Callable[..., ImageData],
    labels: str,
    cache_gigabytes: float,
) -> None:
    extra = image_folder({"cat": 2}, name="generated")
    changes = {"cache_gigabytes": cache_gigabytes} | (labeler if labels == "pseudo" else {})
    assert len(extra_pixels(load(split, extra, **changes))) == 2
    copy(split / "test" / "dog" / "004.png", extra / "cat" / "one.png")
    copy(split / "test" / "cat" / "001.png", extra / "cat" / "two.png")
    with pytest.raises(
        ValueError,
        match=r"extra_dataset='.*generated' with extra_split='train' holds 2 copies of .*pixel: 2 of test; .*"
        r"extra\[2\] \(.*one\.png\).*test\[10\] \(.*004\.png\).*remove them from extra_dataset",
    ):
        load(split, extra, **changes)


def test_copies_of_images_held_out_from_train_are_refused_and_copies_of_train_images_are_not(
    flat: Path, tmp_path: Path, load: Callable[..., ImageData]
) -> None:
    refused = 0
    for number in range(10):
        extra = tmp_path / f"extra{number}"
        copy(flat / "cat" / f"{number:03d}.png", extra / "cat" / "a.png")
        try:
            assert len(extra_pixels(load(flat, extra))) == 1
        except ValueError as error:
            assert "holds 1 copy of held-out images" in str(error)  # noqa: PT017 - one of ten
            assert f"train[{number}]" in str(error)  # noqa: PT017
            refused += 1
    assert refused == 1


def test_copies_of_images_that_a_limit_leaves_out_are_refused(
    image_folder: Folder, split: Path, load: Callable[..., ImageData]
) -> None:
    refused = 0
    for number, path in enumerate(sorted((split / "test").rglob("*.png"))):
        extra = image_folder({"cat": 1}, name=f"generated{number}")
        copy(path, extra / "cat" / "copy.png")
        with pytest.raises(ValueError, match=r"holds 1 copy of .*1 of test; the first is .*copy\.png"):
            load(split, extra, max_eval_images=2)
        refused += 1
    assert refused > 2


def test_copies_in_another_file_format_are_refused(
    image_folder: Folder, split: Path, load: Callable[..., ImageData]
) -> None:
    extra = image_folder({"cat": 1}, name="generated")
    with PillowImage.open(split / "test" / "dog" / "000.png") as picture:
        picture.save(extra / "cat" / "same.bmp")
    with pytest.raises(ValueError, match=r"1 of test; .*same\.bmp"):
        load(split, extra)


def test_copies_between_two_data_sets_of_the_hub_are_refused(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., ImageData]
) -> None:
    splits = {
        "me/own": DatasetDict({"train": pictures_of(0), "test": pictures_of(1)}),
        "me/more": DatasetDict({"train": pictures_of(1, count=2)}),
    }
    monkeypatch.setattr(sources, "load_dataset", lambda name, config, **_: splits[name])
    with pytest.raises(ValueError, match=r"extra_dataset='me/more'.* holds 2 copies .*extra\[0\].*test\[0\]"):
        load("me/own", "me/more")
