"""Folders of images, in every layout that people have."""

import re
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from adsr_hf.data.labelled import ImageSplits, load_splits
from adsr_hf.data.sources import ORIGIN_COLUMN
from adsr_hf.settings.data import DataArguments

Folder = Callable[..., Path]


def load(root: Path, **changes: Any) -> ImageSplits:
    return load_splits(DataArguments(dataset=str(root), **changes))


def files(split: Any) -> list[str]:
    return [str(Path(row["path"]).relative_to(Path(row["path"]).parents[2])) for row in split["image"]]


def test_classes_in_a_folder_are_sorted_and_held_out(image_folder: Folder) -> None:
    splits = load(image_folder({"dog": 10, "cat": 20}))
    assert splits.class_names == ["cat", "dog"]
    assert splits.test is None
    assert splits.validation is not None
    for split, sizes in ((splits.train, [18, 9]), (splits.validation, [2, 1])):
        assert [list(split["label"]).count(label) for label in (0, 1)] == sizes
        for row, label in zip(split["image"], split["label"], strict=True):
            assert Path(row["path"]).parent.name == splits.class_names[label]
    assert set(files(splits.train)).isdisjoint(files(splits.validation))
    assert splits.notes == ["validation: 3 images held out from train (stratified, seed 0)"]


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "dev"])
def test_split_folders_are_honoured(image_folder: Folder, validation: str) -> None:
    root = image_folder({f"{split}/{name}": 3 for split in ("train", validation, "test") for name in ("cat", "dog")})
    splits = load(root)
    for split, name in ((splits.train, "train"), (splits.validation, validation), (splits.test, "test")):
        assert split is not None
        assert len(split) == 6
        assert {file.split("/")[0] for file in files(split)} == {name}
        assert list(split[ORIGIN_COLUMN]) == [f"{name}[{row}]" for row in range(6)]
    assert splits.notes == []


def test_hold_out_never_takes_from_test(image_folder: Folder) -> None:
    root = image_folder({f"{split}/{name}": 10 for split in ("train", "test") for name in ("cat", "dog")})
    splits = load(root)
    assert splits.validation is not None
    assert splits.test is not None
    assert {file.split("/")[0] for file in files(splits.validation)} == {"train"}
    assert len(splits.test) == 20
    assert len(splits.train) + len(splits.validation) == 20


def test_the_split_seed_decides_who_is_held_out(image_folder: Folder) -> None:
    root = image_folder({"cat": 20, "dog": 20})
    first, again, other = (files(load(root, split_seed=seed).validation) for seed in (0, 0, 1))
    assert first == again != other


def test_no_hold_out_when_the_fraction_is_zero(image_folder: Folder) -> None:
    splits = load(image_folder({"cat": 2, "dog": 2}), validation_fraction=0)
    assert splits.validation is None
    assert len(splits.train) == 4
    assert "no model can be selected" in splits.notes[0]


def test_a_class_called_train_is_a_class(image_folder: Folder) -> None:
    assert load(image_folder({"bus": 3, "train": 3, "test": 3})).class_names == ["bus", "test", "train"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["Train", "Test"], r"no folder 'train' with classes in it, but 'Test', 'Train', .*--train_split Train "),
        (
            ["training", "validation", "test"],
            r"'test', 'training', 'validation'.*--train_split training .*--test_split",
        ),
        (["TRAIN", "Testing", "x"], r"but 'TRAIN', 'Testing', which look like splits"),
        (["valid", "DEV"], r"but 'DEV', 'valid', which look like splits"),
    ],
)
def test_splits_of_other_names_do_not_become_classes(image_folder: Folder, names: list[str], text: str) -> None:
    root = image_folder({f"{split}/{name}": 4 for split in names for name in ("cat", "dog")})
    with pytest.raises(ValueError, match=text):
        load(root)


def test_the_way_out_of_splits_of_other_names_leads_out(image_folder: Folder) -> None:
    root = image_folder({f"{split}/{name}": 4 for split in ("Train", "Test") for name in ("cat", "dog")})
    splits = load(root, train_split="Train", test_split="Test", validation_fraction=0)
    assert splits.test is not None
    assert {file.split("/")[0] for file in files(splits.train)} == {"Train"}
    assert {file.split("/")[0] for file in files(splits.test)} == {"Test"}


def test_one_class_with_sub_folders_may_be_called_like_a_split(image_folder: Folder) -> None:
    assert load(image_folder({"bus": 3, "test/monday": 3})).class_names == ["bus", "test"]


def test_a_train_split_that_is_no_folder_does_not_become_all_of_them(image_folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"train_split='trian' is not a split of .*its splits are: train\."):
        load(image_folder({"cat": 3, "dog": 3}), train_split="trian")


def test_folders_beside_the_splits_are_no_classes(image_folder: Folder) -> None:
    root = image_folder(
        {f"{split}/{name}": 4 for split in ("train", "test") for name in ("cat", "dog")} | {"raw/x": 2}
    )
    assert load(root).class_names == ["cat", "dog"]


def test_sub_folders_of_a_class_belong_to_it_and_odd_files_are_counted(image_folder: Folder) -> None:
    root = image_folder({"cat/monday": 4, "cat/tuesday": 4, "dog": 8, ".trash/old": 3})
    (root / "cat" / "readme.txt").write_text("no image")
    (root / "labels.csv").write_text("no image")
    splits = load(root, validation_fraction=0)
    assert list(splits.train["label"]) == [0] * 8 + [1] * 8
    assert "2 files were left out: no images, or outside the class folders" in splits.notes


def test_limits_keep_one_of_each_class_and_are_nested(image_folder: Folder) -> None:
    root = image_folder({f"{split}/{name}": 12 for split in ("train", "test") for name in ("a", "b", "c")})
    small, large = (load(root, max_train_images=limit, max_eval_images=3) for limit in (3, 9))
    assert sorted(small.train["label"]) == [0, 1, 2]
    assert len(large.train) == 9
    assert set(small.train[ORIGIN_COLUMN]) < set(large.train[ORIGIN_COLUMN])
    assert small.validation is not None
    assert small.test is not None
    assert len(small.validation) == len(small.test) == 3
    assert any("train: 3 of 32 images (max_train_images" in note for note in small.notes)


def test_a_limit_below_the_number_of_classes_is_refused(image_folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"max_train_images=2 must be at least 3"):
        load(image_folder({"a": 5, "b": 5, "c": 5}), max_train_images=2)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_class_missing_from_a_split_is_named(image_folder: Folder, split: str) -> None:
    counts = {f"{name}/{label}": 3 for name in ("train", "validation", "test") for label in ("cat", "dog", "emu")}
    del counts[f"{split}/emu"]
    with pytest.raises(ValueError, match=rf"split '{split}' has no image of class 'emu'"):
        load(image_folder(counts))


def test_an_empty_class_folder_is_a_missing_class(image_folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"split 'train' has no image of class 'emu'"):
        load(image_folder({"cat": 3, "dog": 3, "emu": 0}))


def test_an_empty_split_is_named(image_folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"split 'test' .*is empty"):
        load(image_folder({"train/cat": 3, "train/dog": 3, "test/cat": 0, "test/dog": 0}))


def test_a_folder_without_images_says_how_to_lay_them_out(tmp_path: Path, write_image: Folder) -> None:
    write_image(tmp_path / "flat" / "1.png")
    with pytest.raises(ValueError, match=r"holds no images in class folders.*one sub-folder for each class"):
        load(tmp_path / "flat")


def test_one_class_is_no_classification(image_folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"one class only \('images'\)"):
        load(image_folder({"images": 5}))


def test_a_class_with_one_image_cannot_be_held_out(image_folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"needs at least 2.*'dog'"):
        load(image_folder({"cat": 5, "dog": 1}))


def test_local_data_are_read_without_any_network(image_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("network used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    root = image_folder({"cat": 3, "dog": 3})
    splits = load(root)
    splits.train.to_parquet(root.parent / "pets.parquet")
    load(root.parent / "pets.parquet", validation_fraction=0)
    load(Path("digits"))


def test_a_config_makes_no_sense_for_local_data(image_folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"dataset_config='x'.*is local"):
        load(image_folder({"cat": 3, "dog": 3}), dataset_config="x")


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val", "test"), ("Train", "Test"), ("test",)])
def test_splits_without_classes_are_no_classes(image_folder: Folder, names: tuple[str, ...]) -> None:
    root = image_folder(dict.fromkeys(names, 4))
    with pytest.raises(ValueError, match=r"look like splits, and images lie directly in .*there are no classes"):
        load(root)


def test_a_stray_image_does_not_make_classes_of_splits(image_folder: Folder) -> None:
    root = image_folder({f"{split}/{name}": 4 for split in ("train", "test") for name in ("cat", "dog")})
    image_folder({"train": 1})
    with pytest.raises(ValueError, match=r"images lie directly in 'train'.*images that stand beside class folders"):
        load(root)


@pytest.mark.parametrize("place", ["", "cat", "train", "train/cat"])
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_labels_that_a_file_gives_are_not_passed_over(image_folder: Folder, place: str, name: str) -> None:
    split = "train/" if place.startswith("train") else ""
    root = image_folder({f"{split}cat": 4, f"{split}dog": 4})
    (root / place / name).write_text("file_name,label\n000.png,good\n")
    with pytest.raises(ValueError, match=re.escape(str(root / place / name)) + r".*classes are the names of folders"):
        load(root)
    (root / place / name).unlink()
    assert load(root).class_names == ["cat", "dog"]


def test_a_file_of_labels_is_named_where_splits_hold_images_directly(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 4})
    (root / "train" / "metadata.csv").write_text("file_name,label\n000.png,good\n")
    with pytest.raises(ValueError, match=r"train.metadata\.csv.*imagefolder"):
        load(root)


def test_links_to_folders_and_files_are_followed(image_folder: Folder, tmp_path: Path) -> None:
    source = image_folder({"cat": 4, "dog": 4, "more": 2}, name="elsewhere")
    root = tmp_path / "linked"
    root.mkdir()
    for name in ("cat", "dog"):
        (root / name).symlink_to(source / name)
    assert len(load(root, validation_fraction=0).train) == 8
    (root / "cat").unlink()
    copytree(source / "cat", root / "cat")
    (root / "cat" / "deeper").symlink_to(source / "more")
    (root / "cat" / "one.png").symlink_to(source / "dog" / "000.png")
    splits = load(root, validation_fraction=0)
    assert list(splits.train["label"]) == [0] * 7 + [1] * 4
    assert splits.notes == ["validation: none, since validation_fraction=0; no model can be selected"]


def test_links_that_lead_nowhere_are_counted(image_folder: Folder) -> None:
    root = image_folder({"cat": 3, "dog": 3})
    for place in ("cat/gone.png", "dog/deeper", "fox"):
        (root / place).symlink_to(root / "nowhere")
    notes = load(root, validation_fraction=0).notes
    assert notes[0].startswith("links that lead nowhere were left out: 3, such as ")


def test_links_in_a_circle_come_to_an_end_and_read_no_other_class(image_folder: Folder) -> None:
    root = image_folder({"train/cat": 3, "train/cat/deep": 2, "train/dog": 3, "test/cat": 3, "test/dog": 3})
    places = {"cat/deep/up": "train/cat", "cat/all": "train", "dog/self": "train/dog", "dog/whole": ""}
    for place, target in places.items():
        (root / "train" / place).symlink_to(root / target)
    splits = load(root, validation_fraction=0)
    assert Counter(splits.train["label"]) == {0: 5, 1: 3}
    assert any(note.startswith("links to folders that are read already were left out:") for note in splits.notes)


def test_a_folder_that_links_bring_into_two_splits_is_refused(image_folder: Folder) -> None:
    root = image_folder({f"{split}/{name}": 3 for split in ("train", "test") for name in ("cat", "dog")})
    (root / "train" / "cat" / "more").symlink_to(root / "test" / "dog")
    with pytest.raises(ValueError, match=r"test/dog are in split 'train' and, by a link, in split 'test' too"):
        load(root)


def test_a_folder_of_dangling_links_says_why_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"holds no images.*links that lead nowhere were left out: 1"):
        load(tmp_path)


def test_a_test_split_is_found_in_whatever_case(image_folder: Folder) -> None:
    root = image_folder({f"{split}/{name}": 4 for split in ("train", "Test", "Val") for name in ("cat", "dog")})
    splits = load(root)
    assert splits.test is not None
    assert splits.validation is not None
    assert {file.split("/")[0] for file in files(splits.test)} == {"Test"}
    assert {file.split("/")[0] for file in files(splits.validation)} == {"Val"}
