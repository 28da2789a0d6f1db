"""Parquet files, label columns of every kind, the digits, and names that lead nowhere."""

import io
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from pyarrow import parquet

from adsr_hf.data import sources
from adsr_hf.data.decoding import BrokenImageError, decode_image
from adsr_hf.data.labelled import ImageSplits, load_splits
from adsr_hf.settings.data import DataArguments

STEEL = Path(__file__).parents[2] / ".." / "shared" / "data" / "xsdd-steel-eq"


def load(root: Path | str, **changes: Any) -> ImageSplits:
    return load_splits(DataArguments(dataset=str(root), **changes))


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def table(labels: list[Any], feature: Any, image: str = "image", label: str = "label", **more: Any) -> Dataset:
    images = [{"bytes": png(seed), "path": None} for seed in range(len(labels))]
    extra = {name: Value("string") for name in more}
    features = Features({image: ImageFeature(), label: feature} | extra)
    return Dataset.from_dict({image: images, label: labels} | more, features=features)


def write(path: Path, dataset: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(path)
    return path


def write_paths(path: Path, dataset: Dataset) -> Path:
    """A table as it is: ``to_parquet`` would read the files that it names."""
    metadata = dataset.features.arrow_schema.metadata
    parquet.write_table(dataset.data.table.replace_schema_metadata(metadata), path)
    return path


def test_one_file_is_the_train_split_and_keeps_class_names(tmp_path: Path) -> None:
    path = write(tmp_path / "test.parquet", table([1, 0] * 5, ClassLabel(names=["zebra", "ant"])))
    splits = load(path, validation_fraction=0)
    assert splits.class_names == ["zebra", "ant"]
    assert list(splits.train["label"]) == [1, 0] * 5
    decoded, _ = decode_image(splits.train[3]["image"]["bytes"], name="3")
    expected, _ = decode_image(png(3), name="3")
    assert decoded.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "layout",
    [
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"],
        ["data/train-0.parquet", "data/train-1.parquet", "data/test.parquet"],
        ["train/0000.parquet", "train/0001.parquet", "test/0000.parquet"],
    ],
)
def test_splits_of_a_folder_of_parquet_files(tmp_path: Path, layout: list[str]) -> None:
    for name in layout:
        write(tmp_path / "set" / name, table([0, 1, 2] * 2, ClassLabel(names=["a", "b", "c"])))
    (tmp_path / "set" / "README.md").write_text("---\nlicense: mit\n---\n")
    splits = load(tmp_path / "set")
    assert splits.validation is not None
    assert splits.test is not None
    assert len(splits.train) + len(splits.validation) == 12
    assert len(splits.test) == 6


def test_a_rewritten_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for count in (4, 6):
        write(path, table([0, 1] * count, ClassLabel(names=["a", "b"])))
        assert len(load(path, validation_fraction=0).train) == 2 * count


def test_unclear_parquet_names_are_refused(tmp_path: Path) -> None:
    dataset = table([0, 1], ClassLabel(names=["a", "b"]))
    write(tmp_path / "digits-first" / "0000.parquet", dataset)
    with pytest.raises(ValueError, match=r"the split of .*0000\.parquet cannot be told.*train-00000\.parquet"):
        load(tmp_path / "digits-first")
    write(tmp_path / "named" / "steel.parquet", dataset)
    with pytest.raises(ValueError, match=r"train_split='train' is not a split.*steel"):
        load(tmp_path / "named")


@pytest.mark.parametrize(
    ("labels", "feature", "names"),
    [
        (["b", "a", "b", "a"], Value("string"), ["a", "b"]),
        ([10, 9, 10, 9], Value("int64"), ["9", "10"]),
        ([1, 0, 1, 0], Value("uint8"), ["0", "1"]),
    ],
)
def test_labels_as_text_and_numbers_are_the_same_classes(
    tmp_path: Path, labels: list[Any], feature: Any, names: list[str]
) -> None:
    splits = load(write(tmp_path / "a.parquet", table(labels, feature)), validation_fraction=0)
    assert splits.class_names == names
    assert list(splits.train["label"]) == [1, 0, 1, 0]
    assert splits.train.features["label"] == ClassLabel(names=names)


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([0, 1, -1, 0], Value("int64")),
        ([0, 1, -1, 0], ClassLabel(names=["a", "b"])),
        ([0, 1, None, 0], ClassLabel(names=["a", "b"])),
        (["a", "b", None, "a"], Value("string")),
        (["a", "b", "", "a"], Value("string")),
    ],
)
def test_a_row_without_label_is_named(tmp_path: Path, labels: list[Any], feature: Any) -> None:
    path = write(tmp_path / "a.parquet", table(labels, feature))
    with pytest.raises(ValueError, match=r"row train\[2\] has no label.*without labels"):
        load(path)


@pytest.mark.parametrize(
    ("labels", "feature", "text"),
    [
        ([0.5, 1.0], Value("float32"), r"train\[0\] has the label 0\.5"),
        ([[0], [1, 0]], List(Value("int64")), r"train\[0\] has the label \[0\]"),
        ([True, False], Value("bool"), r"train\[0\] has the label True"),
    ],
)
def test_labels_that_are_no_single_class_are_refused(
    tmp_path: Path, labels: list[Any], feature: Any, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        load(write(tmp_path / "a.parquet", table(labels, feature)))


def test_columns_are_found_by_type_then_by_name(tmp_path: Path) -> None:
    typed = table([0, 1], ClassLabel(names=["a", "b"]), image="scan", label="defect", label_note=["x", "y"])
    splits = load(write(tmp_path / "typed.parquet", typed), validation_fraction=0)
    assert (splits.image_column, splits.label_column) == ("scan", "defect")

    plain = Dataset.from_dict({"img": [png(0), png(1)], "target": ["a", "b"]})
    splits = load(write(tmp_path / "plain.parquet", plain), validation_fraction=0)
    assert (splits.image_column, splits.label_column) == ("img", "target")
    assert splits.train[1]["img"]["bytes"] == png(1)


def test_several_label_columns_need_a_choice(tmp_path: Path) -> None:
    names = ClassLabel(names=["a", "b"])
    both = table([0, 1], names, label="fine_label").add_column("coarse_label", [1, 0], feature=names)
    path = write(tmp_path / "a.parquet", both)
    with pytest.raises(ValueError, match=r"several columns hold labels: 'fine_label', 'coarse_label'.*label_column"):
        load(path)
    splits = load(path, label_column="coarse_label", validation_fraction=0)
    assert list(splits.train["coarse_label"]) == [1, 0]


@pytest.mark.parametrize(
    ("dataset", "changes", "text"),
    [
        (
            Dataset.from_dict({"text": ["a"], "label": [0]}),
            {},
            r"no image column was found.*text, label.*image_column",
        ),
        (Dataset.from_dict({"image": [png(0)], "note": ["a"]}), {}, r"no label column was found.*image, note"),
        (
            Dataset.from_dict({"image": [png(0)], "label": [0]}),
            {"image_column": "x"},
            r"image_column='x' is no column",
        ),
        (
            Dataset.from_dict({"image": [1, 2], "label": [0, 1]}),
            {"validation_fraction": 0},
            r"image_column='image' .*holds Value\('int64'\), not images",
        ),
        (Dataset.from_dict({"image": [], "label": []}), {}, r"split 'train' .*is empty"),
    ],
)
def test_tables_without_what_is_needed_say_what_they_have(
    tmp_path: Path, dataset: Dataset, changes: dict, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        load(write(tmp_path / "a.parquet", dataset), **changes)


def test_a_class_that_only_the_test_split_has_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "set" / "train.parquet", table(["a", "b"] * 3, Value("string")))
    write(tmp_path / "set" / "test.parquet", table(["a", "b", "c"], Value("string")))
    with pytest.raises(ValueError, match=r"split 'train' has no image of class 'c', of 3 classes"):
        load(tmp_path / "set")


@pytest.mark.parametrize("extension", ["", "/0000"])
def test_splits_that_number_their_classes_differently_are_matched_by_name(tmp_path: Path, extension: str) -> None:
    for split, names, labels in (("train", ["cat", "dog"], [0, 0, 1]), ("test", ["dog", "cat"], [0, 1, 1])):
        write(tmp_path / "set" / f"{split}{extension}.parquet", table(labels, ClassLabel(names=names)))
    splits = load(tmp_path / "set", validation_fraction=0)
    assert splits.test is not None
    assert splits.class_names == ["cat", "dog"]
    assert [splits.class_names[label] for label in splits.train["label"]] == ["cat", "cat", "dog"]
    assert [splits.class_names[label] for label in splits.test["label"]] == ["dog", "cat", "cat"]


def test_files_of_one_split_that_number_their_classes_differently_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "set" / "train-0.parquet", table([0, 1], ClassLabel(names=["cat", "dog"])))
    write(tmp_path / "set" / "train-1.parquet", table([0, 1], ClassLabel(names=["dog", "cat"])))
    with pytest.raises(
        ValueError, match=r"'label' differently: .*train-0\.parquet as \['cat', 'dog'\].*\['dog', 'cat'\]"
    ):
        load(tmp_path / "set")


def test_a_class_that_only_another_split_names_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "set" / "train.parquet", table([0, 1] * 2, ClassLabel(names=["cat", "dog"])))
    write(tmp_path / "set" / "test.parquet", table([0, 1], ClassLabel(names=["cat", "fox"])))
    with pytest.raises(ValueError, match=r"split 'test' names the classes 'fox', which split 'train' does not have"):
        load(tmp_path / "set")


def test_a_number_beyond_the_names_is_named_by_its_row(tmp_path: Path) -> None:
    write(tmp_path / "set" / "train.parquet", table([0, 1] * 2, ClassLabel(names=["cat", "dog"])))
    write(tmp_path / "set" / "test.parquet", table([0, 1, 2], Value("int64")))
    with pytest.raises(ValueError, match=r"row test\[2\] has label 2 .*names 2 classes"):
        load(tmp_path / "set")


def test_digits_are_parted_once_and_for_all() -> None:
    splits = load("digits")
    assert splits.validation is not None
    assert splits.test is not None
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (1297, 500)
    assert splits.class_names == [str(digit) for digit in range(10)]
    paths = [row["path"] for split in (splits.train, splits.validation, splits.test) for row in split["image"]]
    assert Counter(paths).most_common(1)[0][1] == 1
    assert [row["path"] for row in load("digits", split_seed=7).test["image"]] == paths[-500:]  # type: ignore[index]
    assert min(Counter(splits.test["label"]).values()) >= 45

    from sklearn.datasets import load_digits

    row = splits.test[0]
    number = int(Path(row["image"]["path"]).stem.split("-")[1])
    levels = np.asarray(decode_image(row["image"]["bytes"], name="0")[0])
    np.testing.assert_array_equal(levels[:, :, 1], np.rint(load_digits().images[number] * 255 / 16))
    assert row["label"] == load_digits().target[number]


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'adsr-hf\[demo\]'"):
        load("digits")


@pytest.mark.parametrize("name", ["no-such-folder", "./no/such", "/no/such/folder", "a/b/c", "gone.parquet"])
def test_names_that_lead_nowhere_are_refused_without_network(name: str) -> None:
    with pytest.raises(ValueError, match=r"neither an existing path nor a Hub name.*owner/name"):
        load(name)


def test_a_parquet_file_cut_short_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", table([0, 1] * 4, ClassLabel(names=["a", "b"])))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as Parquet.*cut short"):
        load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,label\n")
    with pytest.raises(ValueError, match=r"a\.csv' is a file, but not a Parquet file"):
        load(tmp_path / "a.csv")


def test_a_hub_name_that_cannot_be_reached_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"dataset='nobody/nothing'.*could not be opened from the Hub.*connection"):
        load("nobody/nothing")


def test_a_hub_data_set_is_asked_for_by_name_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []

    def answer(*arguments: Any, **options: Any) -> DatasetDict:
        asked.append((arguments, options))
        dataset = table([0, 1] * 4, ClassLabel(names=["a", "b"]))
        return DatasetDict({"train": dataset, "validation": dataset, "test": dataset})

    monkeypatch.setattr(sources, "load_dataset", answer)
    splits = load("owner/pets", dataset_config="small", validation_split="test", test_split="validation")
    assert asked == [(("owner/pets", "small"), {"trust_remote_code": False})]
    assert splits.validation is not None
    assert splits.validation["adsr_origin"][0] == "test[0]"


def columns(**given: tuple[list[Any], Any]) -> Dataset:
    features = Features({name: feature for name, (_, feature) in given.items()})
    return Dataset.from_dict({name: values for name, (values, _) in given.items()}, features=features)


PICTURES = ([{"bytes": png(seed), "path": None} for seed in range(4)], ImageFeature())
SIDES = ([0, 1, 0, 1], ClassLabel(names=["left", "right"]))
WORDS = (["a", "b", "a", "b"], Value("string"))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"image": PICTURES, "camera": SIDES, "label": WORDS}, ("image", "label")),
        ({"mask": PICTURES, "Image": ([png(0)] * 4, Value("binary")), "Label": SIDES}, ("Image", "Label")),
        ({"scan": PICTURES, "img": PICTURES, "category": WORDS, "side": SIDES}, ("img", "category")),
        ({"scan": PICTURES, "note": WORDS, "side": SIDES}, ("scan", "side")),
        ({"images": PICTURES, "image": PICTURES, "labels": SIDES, "label": WORDS}, ("image", "label")),
    ],
)
def test_names_win_over_types_and_the_choice_is_told(tmp_path: Path, given: dict, found: tuple[str, str]) -> None:
    splits = load(write(tmp_path / "a.parquet", columns(**given)), validation_fraction=0)
    assert (splits.image_column, splits.label_column) == found
    assert splits.described == (
        f"2 classes ({', '.join(map(repr, splits.class_names))}) of column {found[1]!r}, images of column {found[0]!r}"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"image": PICTURES, "labels": SIDES, "class": WORDS}, r"several columns hold labels: 'labels', 'class'"),
        ({"img": PICTURES, "photo": PICTURES, "label": SIDES}, r"several columns hold images: 'img', 'photo'"),
        ({"image": PICTURES, "label": SIDES, "Label": WORDS}, r"several columns hold labels: 'label', 'Label'"),
        ({"image": PICTURES, "left": SIDES, "right": SIDES}, r"several columns hold labels: 'left', 'right'"),
    ],
)
def test_ambiguous_columns_are_refused(tmp_path: Path, given: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text + r"\. Choose one with (label|image)_column"):
        load(write(tmp_path / "a.parquet", columns(**given)))


@pytest.mark.parametrize(
    ("test", "text"),
    [
        ({"image": PICTURES, "labels": SIDES}, r"label_column='label'.*no column of split 'test'.*image, labels"),
        ({"img": PICTURES, "label": SIDES}, r"image_column='image'.*no column of split 'test'.*img, label"),
        ({"image": PICTURES, "label": WORDS}, r"a ClassLabel in split 'train', text in split 'test'"),
    ],
)
def test_a_split_with_other_columns_is_named(tmp_path: Path, test: dict, text: str) -> None:
    write(tmp_path / "set" / "train.parquet", columns(image=PICTURES, label=SIDES))
    write(tmp_path / "set" / "test.parquet", columns(**test))
    with pytest.raises(ValueError, match=text):
        load(tmp_path / "set")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("labels", "text"), [([0, 1, -1, 0], "has no label"), ([0, 1, -100, 1], "has no label"), ([0, 1, 2, 0], "label 2")]
)
def test_labels_that_are_no_class_are_found_in_every_split(
    tmp_path: Path, split: str, labels: list[int], text: str
) -> None:
    for name in ("train", "validation", "test"):
        values = labels if name == split else [0, 1, 0, 1]
        write(tmp_path / "set" / f"{name}.parquet", table(values, Value("int64")))
    write(tmp_path / "set" / "train.parquet", table([0, 1, 0, 1], ClassLabel(names=["a", "b"])))
    if split == "train":
        write(tmp_path / "set" / "train.parquet", table(labels, Value("int64")))
    if split == "train" and 2 in labels:
        text = "split 'validation' has no image of class '2'"
    with pytest.raises(ValueError, match=text) as caught:
        load(tmp_path / "set")
    assert split in str(caught.value) or 2 in labels


def paths_table(paths: list[str], feature: Any) -> Dataset:
    values = paths if feature == Value("string") else [{"bytes": None, "path": path} for path in paths]
    return columns(image=(values, feature), label=([0, 1] * (len(paths) // 2), ClassLabel(names=["a", "b"])))


@pytest.mark.parametrize("feature", [ImageFeature(), Value("string")])
@pytest.mark.parametrize("way", ["absolute", "upwards", "link to a file", "link to a folder"])
def test_a_table_reads_no_file_outside_its_folder(tmp_path: Path, feature: Any, way: str) -> None:
    secret = tmp_path / "secret" / "a.png"
    secret.parent.mkdir()
    secret.write_bytes(png(0))
    home = tmp_path / "set"
    (home / "images").mkdir(parents=True)
    (home / "images" / "fine.png").write_bytes(png(1))
    (home / "images" / "link.png").symlink_to(secret)
    (home / "more").symlink_to(secret.parent)
    named = {
        "absolute": str(secret),
        "upwards": "images/../../secret/a.png",
        "link to a file": str(home / "images" / "link.png"),
        "link to a folder": "more/a.png",
    }[way]
    write_paths(home / "train.parquet", paths_table(["images/fine.png", named], feature))
    splits = load(home, validation_fraction=0)
    rows = splits.train["image"][:]
    assert splits.reader.read(rows[0], "train[0]")[0].size == (6, 6)
    with pytest.raises(ValueError, match=r"train\[1\].*outside .*set, which is not read") as caught:
        splits.reader.read(rows[1], "train[1]")
    # Not even with skip_broken_images is it passed over.
    assert not isinstance(caught.value, BrokenImageError)


def test_a_data_set_of_the_hub_reads_no_file_outside_the_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, secret = Path(datasets.config.HF_DATASETS_CACHE) / "fetched.png", tmp_path / "secret.png"
    for path in (cached, secret):
        path.write_bytes(png(0))
    rows = paths_table([str(cached), str(secret)], ImageFeature())
    monkeypatch.setattr(sources, "load_dataset", lambda *_, **__: DatasetDict({"train": rows}))
    splits = load("owner/pets", validation_fraction=0)
    assert splits.reader.read(splits.train["image"][0], "train[0]")[0].size == (6, 6)
    with pytest.raises(ValueError, match=r"train\[1\].*secret\.png\) holds no image but the path of a file outside"):
        splits.reader.read(splits.train["image"][1], "train[1]")


def test_paths_in_a_single_file_start_beside_it(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    path = write_paths(tmp_path / "a.parquet", paths_table(["0.png", str(tmp_path / "1.png")], ImageFeature()))
    splits = load(path, validation_fraction=0)
    for number, row in enumerate(splits.train["image"]):
        expected, _ = decode_image(png(number), name="expected")
        assert splits.reader.read(row, "row")[0].tobytes() == expected.tobytes()


@pytest.mark.skipif(not STEEL.exists(), reason="shared data are not here")
def test_steel_defects_are_read_from_their_folder() -> None:
    splits = load(STEEL)
    assert splits.validation is not None
    assert splits.test is not None
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [967, 108, 276]
    assert len(splits.class_names) == 7
    assert splits.class_names[0] == "finishing_roll_printing"
