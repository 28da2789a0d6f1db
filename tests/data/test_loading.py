import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adsr_hf.data import DataArguments, ImageData, MeasuredData, load_image_data, load_measured_data
from adsr_hf.data.decoding import BrokenImageError
from adsr_hf.data.reading import RowReader

STEEL = Path(__file__).parents[2] / ".." / "shared" / "data" / "xsdd-steel-eq"

Folder = Callable[..., Path]


@pytest.fixture
def load(make_processor: Callable[..., Any]) -> Callable[..., ImageData]:
    def run(root: Path, side: int = 8, processor: dict | None = None, **changes: Any) -> ImageData:
        settings: dict[str, Any] = {"dataset": str(root), "crop_padding": 2} | changes
        image_processor = make_processor(side, **(processor or {}))
        return load_image_data(DataArguments(**settings), image_processor, seed=1, show_progress=False)

    return run


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def folders(count: int) -> dict[str, int]:
    return {f"{split}/{name}": count for split in ("train", "test") for name in ("cat", "dog")}


def test_from_files_to_data_sets(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    root = image_folder(folders(10))
    grey = Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12))
    for name in ("train/cat/000.png", "test/dog/000.png"):
        grey.save(root / name)
    grey.convert("RGBA").save(root / "train/dog/001.png")
    data = load(root)
    assert data.summary == (
        "pets: 18 train / 2 validation / 20 test images, 2 classes ('cat', 'dog'), 8×8 px; "
        "2 greyscale, 1 RGBA converted to RGB"
    )
    assert data.class_names == data.train.class_names == ["cat", "dog"]
    assert data.notes == ["validation: 2 images held out from train (stratified, seed 0)"]
    assert data.validation is not None
    assert data.test is not None
    example = data.train[0]
    assert example["pixel_values"].shape == (3, 8, 8)

    for split, changes in ((data.train, True), (data.validation, False), (data.test, False)):
        first = torch.stack([split[index]["pixel_values"] for index in range(len(split))])
        split.set_epoch(1)
        second = torch.stack([split[index]["pixel_values"] for index in range(len(split))])
        assert torch.equal(first, second) is not changes


def test_the_same_split_has_the_same_fingerprint_wherever_it_is_kept(
    image_folder: Folder, load: Callable[..., ImageData]
) -> None:
    root = image_folder(folders(6))
    memory, lazy = load(root), load(root, cache_gigabytes=0.0)
    assert memory.train.fingerprint == lazy.train.fingerprint
    assert memory.train.fingerprint != load(root, split_seed=1).train.fingerprint
    indices = [3, 0]
    for one, two in zip(memory.train.__getitems__(indices), lazy.train.__getitems__(indices), strict=True):
        assert torch.equal(one["pixel_values"], two["pixel_values"])


def test_augmentation_can_be_off(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    data = load(image_folder(folders(4)), crop_padding=0, horizontal_flip=False)
    assert data.train.augmentation is None


def test_skipped_images_are_told(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    root = image_folder(folders(6))
    (root / "train/cat/002.png").write_bytes(b"broken")
    data = load(root, skip_broken_images=True, validation_fraction=0)
    assert data.summary.endswith("11 train / 12 test images, 2 classes ('cat', 'dog'), 8×8 px; 1 broken image skipped")
    assert "skipped: image train[2]" in data.notes[-1]


def test_a_class_that_was_skipped_away_is_missing(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    root = image_folder({"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 1})
    (root / "test/dog/000.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"split 'test' has no image of class 'dog'"):
        load(root, skip_broken_images=True)


def test_a_broken_image_that_was_held_out_is_named_by_its_row_in_train(
    image_folder: Folder, load: Callable[..., ImageData]
) -> None:
    root = image_folder({"cat": 10, "dog": 10})
    for position, path in enumerate(sorted(root.rglob("*.png"))):
        content = path.read_bytes()
        path.write_bytes(content[:40])
        with pytest.raises(ValueError, match=rf"image train\[{position}\] \({path}\)"):
            load(root)
        path.write_bytes(content)


def test_splits_of_different_sizes_are_refused(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    root = image_folder({"train/cat": 4, "train/dog": 4})
    image_folder({"test/cat": 2, "test/dog": 2}, size=(20, 20))
    with pytest.raises(ValueError, match=r"train has 12×10 px and test has 20×20 px"):
        load(root, processor={"do_resize": False})


@pytest.mark.parametrize("changes", [{}, {"max_eval_images": 2}, {"max_train_images": 10}])
def test_one_broken_image_never_stops_a_run_that_skips_them(
    image_folder: Folder, load: Callable[..., ImageData], changes: dict
) -> None:
    root = image_folder({"cat": 10, "dog": 10})
    for path in sorted(root.rglob("*.png"))[::3]:
        content = path.read_bytes()
        path.write_bytes(b"")
        data = load(root, skip_broken_images=True, **changes)
        assert data.validation is not None
        assert len(data.validation) == 2
        assert len(data.train) == changes.get("max_train_images", 17)
        assert "1 broken image skipped" in data.summary
        assert [path.name in note for note in data.notes if note.startswith("skipped: ")] == [True]
        path.write_bytes(content)


def test_where_no_image_can_be_read_that_is_the_reason(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    root = image_folder({"cat": 3, "dog": 3})
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^split 'train' has no image that can be read, 6 are broken: .*000\.png"):
        load(root, skip_broken_images=True)


def test_a_path_that_no_file_can_have_is_a_broken_image(tmp_path: Path) -> None:
    with pytest.raises(BrokenImageError, match=r"row train\[3\] .* a path that no file can have.*skip_broken_images"):
        RowReader(1000, (tmp_path,)).read({"bytes": None, "path": "x\0y"}, "train[3]")


def test_whole_files_are_drawn_as_ever_when_broken_ones_may_be_skipped(
    image_folder: Folder, load: Callable[..., ImageData]
) -> None:
    root = image_folder({"cat": 10, "dog": 10})
    one, other = load(root), load(root, skip_broken_images=True)
    assert one.train.fingerprint == other.train.fingerprint


def test_a_bomb_is_skipped_or_stops_the_run_and_the_limit_can_be_raised(
    image_folder: Folder, load: Callable[..., ImageData]
) -> None:
    root = image_folder({"cat": 4, "dog": 4})
    Image.new("RGB", (40, 40)).save(root / "dog" / "000.png")
    with pytest.raises(ValueError, match=r"dog/000\.png\) has more pixels than max_image_pixels=1,000"):
        load(root, max_image_pixels=1000)
    assert "1 broken image skipped" in load(root, max_image_pixels=1000, skip_broken_images=True).summary
    assert "skipped" not in load(root, max_image_pixels=1600).summary


@pytest.fixture
def measure(make_processor: Callable[..., Any]) -> Callable[..., MeasuredData]:
    def run(root: Path, role: Any = "test", trained_on: bool = False, **changes: Any) -> MeasuredData:
        return load_measured_data(
            DataArguments(dataset=str(root), **changes),
            make_processor(8),
            role=role,
            trained_on=trained_on,
            seed=1,
            show_progress=False,
        )

    return run


@pytest.mark.parametrize("role", ["test", "validation"])
@pytest.mark.parametrize("changes", [{}, {"max_eval_images": 4}, {"skip_broken_images": True}])
def test_a_measurement_sees_the_images_that_a_run_does(
    image_folder: Folder,
    load: Callable[..., ImageData],
    measure: Callable[..., MeasuredData],
    role: str,
    changes: dict,
) -> None:
    root = image_folder(folders(10))
    (root / "train" / "cat" / "003.png").write_bytes(b"broken" if changes.get("skip_broken_images") else png(3))
    data, found = load(root, **changes), measure(root, role, trained_on=True, **changes)
    expected = data.test if role == "test" else data.validation
    assert expected is not None
    assert found.measured.fingerprint == expected.fingerprint
    if role == "test":
        assert found.validation is not None
        assert data.validation is not None
        assert found.validation.fingerprint == data.validation.fingerprint


@pytest.mark.parametrize(
    ("counts", "changes", "images", "classes"),
    [
        ({"cat": 3, "dog": 2}, {}, 5, ["cat", "dog"]),
        ({"cat": 3, "dog": 2}, {"test_split": "train"}, 5, ["cat", "dog"]),
        ({"test/cat": 3, "test/dog": 2}, {}, 5, ["cat", "dog"]),
        ({"Test/cat": 3, "raw/x": 2, "Val/cat": 4, "Val/dog": 1}, {}, 3, ["cat", "dog"]),
        ({"train/cat": 3, "train/dog": 2}, {}, 5, ["cat", "dog"]),
        ({"train/cat": 4, "train/dog": 4, "test/cat": 1}, {"test_split": "train"}, 8, ["cat", "dog"]),
        ({"cat": 3}, {}, 3, ["cat"]),
    ],
)
def test_any_labelled_folder_can_be_measured_on(
    image_folder: Folder,
    measure: Callable[..., MeasuredData],
    counts: dict,
    changes: dict,
    images: int,
    classes: list[str],
) -> None:
    found = measure(image_folder(counts), **changes)
    assert len(found.measured) == images
    assert found.class_names == classes


def test_a_flat_folder_that_was_trained_on_is_measured_on_when_asked_for_alone(
    image_folder: Folder, measure: Callable[..., MeasuredData]
) -> None:
    root = image_folder({"cat": 10, "dog": 10})
    with pytest.raises(ValueError, match="the model was trained on the others: train"):
        measure(root, trained_on=True)
    assert len(measure(root, "validation", trained_on=True).measured) == 2
    told = measure(root, trained_on=True, test_split="train").notes
    assert "the model was trained on these images, so that the figures say nothing about new ones" in told


@pytest.mark.skipif(not STEEL.exists(), reason="shared data are not here")
def test_steel_defects_keep_their_order_and_size(load: Callable[..., ImageData]) -> None:
    data = load(STEEL, side=32, max_train_images=70, max_eval_images=14)
    assert data.summary == (
        "xsdd-steel-eq: 70 train / 14 validation / 14 test images, 7 classes ('finishing_roll_printing', "
        "'iron_sheet_ash', 'oxide_scale_of_plate_system', 'oxide_scale_of_temperature_system', 'red_iron' and 2 more) "
        "of column 'label', images of column 'image', 32×32 px"
    )
    assert data.train.labels.bincount().min() >= 1
    assert data.train.pixels(range(70)).mean() == pytest.approx(0.5, abs=0.25)
