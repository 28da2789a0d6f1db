from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from adsr_hf.data.decoding import BrokenImageError
from adsr_hf.data.image_stores import LazyStore, MemoryStore
from adsr_hf.data.labelled import load_splits
from adsr_hf.data.preparation import PreparedSplit, prepare_split
from adsr_hf.data.reading import RowReader
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.settings.data import MAX_IMAGE_PIXELS, DataArguments

Folder = Callable[..., Path]


def read(root: Path) -> Dataset:
    return load_splits(DataArguments(dataset=str(root), validation_fraction=0)).train


def prepare(dataset: Dataset, processor: Any, **options: Any) -> PreparedSplit:
    return prepare_split(
        dataset,
        image_column="image",
        label_column="label",
        reader=RowReader(MAX_IMAGE_PIXELS),
        processor=processor,
        name="train",
        show_progress=False,
        **options,
    )


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"do_normalize": False},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"do_resize": False},
    ],
)
def test_pixels_normalised_by_us_equal_the_processor_s_own_output(
    image_folder: Folder, make_processor: Callable[..., Any], overrides: dict
) -> None:
    dataset, processor = read(image_folder({"cat": 3, "dog": 3})), make_processor(**overrides)
    prepared = prepare(dataset, processor)
    ours = PixelSpace.from_processor(processor).to_pixel_values(prepared.store.fetch(range(6)).float() / 255)
    images = [Image.open(row["path"]) for row in dataset["image"]]
    expected = processor(images, return_tensors="pt")["pixel_values"].float()
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert prepared.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert prepared.counts == {"RGB": 6}
    assert prepared.skipped == []


def test_both_stores_hold_the_same_images(image_folder: Folder, make_processor: Callable[..., Any]) -> None:
    dataset = read(image_folder({"cat": 4, "dog": 4}))
    memory = prepare(dataset, make_processor()).store
    lazy = prepare(dataset, make_processor(), cache_gigabytes=0).store
    assert isinstance(memory, MemoryStore)
    assert isinstance(lazy, LazyStore)
    assert len(memory) == len(lazy) == 8
    assert memory.image_shape == lazy.image_shape == (3, 8, 8)
    assert memory.digest == lazy.digest
    for indices in ([5, 0, 5, 7], torch.tensor([2]), range(8)):
        assert torch.equal(memory.fetch(indices), lazy.fetch(indices))
    assert memory.fetch([0]).dtype == torch.uint8


def test_the_cache_limit_is_in_bytes_of_the_whole_split(
    image_folder: Folder, make_processor: Callable[..., Any]
) -> None:
    dataset, size = read(image_folder({"cat": 4, "dog": 4})), 8 * 3 * 8 * 8
    assert isinstance(prepare(dataset, make_processor(), cache_gigabytes=size / 1e9).store, MemoryStore)
    assert isinstance(prepare(dataset, make_processor(), cache_gigabytes=(size - 1) / 1e9).store, LazyStore)


def test_fetched_images_can_be_changed_without_changing_the_store(
    image_folder: Folder, make_processor: Callable[..., Any]
) -> None:
    store = prepare(read(image_folder({"cat": 2, "dog": 2})), make_processor()).store
    before = store.fetch([0])
    store.fetch([0]).zero_()
    assert torch.equal(store.fetch([0]), before)


@pytest.fixture
def damaged(image_folder: Folder) -> Path:
    """Row 1 of 6 is cut short."""
    root = image_folder({"cat": 3, "dog": 3}, size=(40, 40))
    path = root / "cat" / "001.png"
    path.write_bytes(path.read_bytes()[:2000])
    return root


def test_a_broken_image_stops_and_is_named_by_row_and_path(damaged: Path, make_processor: Callable[..., Any]) -> None:
    with pytest.raises(BrokenImageError, match=r"train\[1\] \(.*cat/001\.png\) cannot be read"):
        prepare(read(damaged), make_processor())


@pytest.mark.parametrize("cache_gigabytes", [1.0, 0.0])
def test_a_broken_image_is_left_out_when_asked(
    damaged: Path, make_processor: Callable[..., Any], cache_gigabytes: float
) -> None:
    dataset, processor = read(damaged), make_processor()
    prepared = prepare(dataset, processor, skip_broken_images=True, cache_gigabytes=cache_gigabytes)
    assert prepared.labels.tolist() == [0, 0, 1, 1, 1]
    assert len(prepared.store) == 5
    (reason,) = prepared.skipped
    assert "cat/001.png" in reason
    healthy = prepare(dataset.select([0, 2, 3, 4, 5]), processor)
    assert torch.equal(prepared.store.fetch(range(5)), healthy.store.fetch(range(5)))
    assert prepared.store.digest == healthy.store.digest


def test_a_row_without_an_image_is_broken(image_folder: Folder, make_processor: Callable[..., Any]) -> None:
    dataset = read(image_folder({"cat": 2, "dog": 2}))
    features, rows = dataset.features, dataset.to_dict()
    rows["image"][2] = None
    with pytest.raises(BrokenImageError, match=r"row train\[2\] holds no image"):
        prepare(Dataset.from_dict(rows, features=features), make_processor())


def test_a_split_of_broken_images_only_is_an_error(tmp_path: Path, make_processor: Callable[..., Any]) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"split 'train' has no readable image \(2 broken ones\)"):
        prepare(read(tmp_path / "pets"), make_processor(), skip_broken_images=True)


@pytest.mark.parametrize("cache_gigabytes", [1.0, 0.0])
def test_images_of_several_sizes_are_named(
    image_folder: Folder, write_image: Folder, make_processor: Callable[..., Any], cache_gigabytes: float
) -> None:
    root = image_folder({"cat": 2, "dog": 2}, size=(12, 10))
    write_image(root / "dog" / "000.png", size=(20, 16))
    with pytest.raises(ValueError, match=r"train\[0\] has 12×10 px and train\[2\] has 20×16 px.*do_resize=True"):
        prepare(read(root), make_processor(do_resize=False), cache_gigabytes=cache_gigabytes)


class Inverting:
    """A processor that turns pixels into their negative after rescaling: no affine map of positive scale."""

    do_rescale, do_normalize, rescale_factor, image_mean, image_std = True, False, 1 / 255, None, None

    def __call__(self, image: Image.Image, *, do_rescale: bool = True, **_: Any) -> dict[str, torch.Tensor]:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        return {"pixel_values": 1 - pixels.float() / 255 if do_rescale else pixels}


class AlwaysFloat(Inverting):
    """A processor that does not listen when told to leave rescaling out."""

    def __call__(self, image: Image.Image, **_: Any) -> dict[str, torch.Tensor]:
        return super().__call__(image)


@pytest.mark.parametrize("processor", [Inverting(), AlwaysFloat()])
def test_a_processor_that_does_more_is_refused(image_folder: Folder, processor: Any) -> None:
    with pytest.raises(ValueError, match=r"does more than geometry, rescale and normalise.*attacks need"):
        prepare(read(image_folder({"cat": 2, "dog": 2})), processor)
