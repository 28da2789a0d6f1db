import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import DefaultDataCollator

from adsr_hf.data.augmentation import Augmentation, crop_and_flip
from adsr_hf.data.dataset import ImageClassificationDataset
from adsr_hf.data.image_stores import MemoryStore
from adsr_hf.data.randaugment import apply_policy
from adsr_hf.networks.pixels import PixelSpace

SPACE = PixelSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
IMAGES = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = [0, 1, 2] * 4


def make(**changes: Any) -> ImageClassificationDataset:
    settings: dict[str, Any] = {
        "store": MemoryStore(IMAGES),
        "labels": LABELS,
        "pixel_space": SPACE,
        "class_names": ["a", "b", "c"],
        "augmentation": Augmentation(2, True),
        "seed": 5,
    } | changes
    return ImageClassificationDataset(**settings)


def batches(dataset: ImageClassificationDataset, **options: Any) -> list[dict[str, torch.Tensor]]:
    return list(DataLoader(dataset, batch_size=5, collate_fn=DefaultDataCollator(), **options))


def test_without_augmentation_the_inputs_are_the_normalised_pixels() -> None:
    dataset = make(augmentation=None)
    example = dataset[7]
    assert example["labels"] == 1
    assert example["pixel_values"].dtype == torch.float32
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (SPACE.mean, SPACE.std))
    expected = (IMAGES[7].double() / 255 - mean) / std
    torch.testing.assert_close(example["pixel_values"].double(), expected, rtol=1e-5, atol=1e-6)


def test_augmented_inputs_are_keyed_by_seed_epoch_and_index() -> None:
    dataset = make()
    dataset.set_epoch(3)
    indices = [11, 0, 4]
    pixels = crop_and_flip(IMAGES[indices], indices, padding=2, flip=True, seed=5, epoch=3)
    expected = SPACE.to_pixel_values(pixels.float() / 255)
    examples = dataset.__getitems__(indices)
    for example, value, index in zip(examples, expected, indices, strict=True):
        assert torch.equal(example["pixel_values"], value)
        assert torch.equal(dataset[index]["pixel_values"], value)
        assert example["labels"] == LABELS[index]


def test_the_policy_comes_after_crop_and_flip() -> None:
    dataset = make(augmentation=Augmentation(2, True, policy_operations=2, policy_magnitude=12.0))
    dataset.set_epoch(3)
    indices = [11, 0, 4]
    keys = {"seed": 5, "epoch": 3}
    pixels = crop_and_flip(IMAGES[indices], indices, padding=2, flip=True, **keys)
    pixels = apply_policy(pixels, indices, operations=2, magnitude=12.0, **keys)
    for example, value in zip(dataset.__getitems__(indices), pixels, strict=True):
        assert torch.equal(example["pixel_values"], SPACE.to_pixel_values(value[None].float() / 255)[0])


def test_examples_of_several_epochs_at_once_are_those_of_each() -> None:
    dataset = make(augmentation=Augmentation(2, True, 2))
    indices, epochs = np.array([4, 4, 7]), np.array([1, 2, 1])
    found = dataset.examples(indices, epoch=epochs)
    for index, epoch, example in zip(indices, epochs, found, strict=True):
        dataset.set_epoch(int(epoch))
        assert torch.equal(example["pixel_values"], dataset[int(index)]["pixel_values"])


def test_indices_from_the_end_and_outside() -> None:
    dataset = make()
    assert torch.equal(dataset[-1]["pixel_values"], dataset[11]["pixel_values"])
    for index in (12, -13):
        with pytest.raises(IndexError, match=f"{index} is outside a data set of 12 images"):
            dataset[index]
    assert len(list(iter(dataset))) == len(dataset) == 12  # type: ignore[call-overload]


def test_pixels_are_raw_and_in_the_unit_interval() -> None:
    dataset = make()
    dataset.set_epoch(1)
    torch.testing.assert_close(dataset.pixels([3, 1]), IMAGES[[3, 1]].float() / 255)
    torch.testing.assert_close(SPACE.recover(make(augmentation=None)[3]["pixel_values"][None]), dataset.pixels([3]))


@pytest.mark.parametrize("operations", [0, 2])
def test_two_workers_give_the_tensors_that_none_gives(operations: int) -> None:
    dataset = make(augmentation=Augmentation(2, True, operations))
    for one, two in zip(batches(dataset), batches(dataset, num_workers=2), strict=True):
        assert torch.equal(one["pixel_values"], two["pixel_values"])
        assert torch.equal(one["labels"], two["labels"])
        assert one["labels"].dtype == torch.int64


def test_persistent_workers_see_a_new_epoch() -> None:
    dataset = make()
    loader = DataLoader(
        dataset, batch_size=5, collate_fn=DefaultDataCollator(), num_workers=2, persistent_workers=True
    )
    seen = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        seen.append(torch.cat([batch["pixel_values"] for batch in loader]))
        assert torch.equal(seen[-1], torch.cat([batch["pixel_values"] for batch in batches(dataset)]))
    assert not torch.equal(seen[0], seen[1])


def test_accelerate_passes_the_epoch_on() -> None:
    from accelerate.data_loader import prepare_data_loader

    dataset = make()
    prepare_data_loader(DataLoader(dataset, batch_size=4), put_on_device=False).set_epoch(9)
    assert dataset.epoch == 9


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_copies_keep_the_epoch_and_are_independent(clone: Any) -> None:
    dataset = make()
    dataset.set_epoch(4)
    other = clone(dataset)
    assert torch.equal(other[2]["pixel_values"], dataset[2]["pixel_values"])
    other.set_epoch(5)
    assert dataset.epoch == 4


def test_the_fingerprint_is_of_images_labels_and_names_only() -> None:
    base = make().fingerprint
    assert len(base) == 64
    assert make(augmentation=None, seed=1, pixel_space=PixelSpace((0.0,) * 3, (1.0,) * 3)).fingerprint == base
    changed = IMAGES.clone()
    changed[6, 1, 2, 3] ^= 1
    others = [
        make(store=MemoryStore(changed)).fingerprint,
        make(labels=[1, *LABELS[1:]]).fingerprint,
        make(class_names=["a", "b", "x"]).fingerprint,
        make(store=MemoryStore(IMAGES.flatten(2).unflatten(2, (4, 16)))).fingerprint,
    ]
    assert len({base, *others}) == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"labels": LABELS[:-1]}, r"labels of shape \(11,\) do not fit 12 images"),
        ({"class_names": ["a", "b"]}, r"labels from 0 to 2 must lie in \[0, 1\]"),
        ({"labels": [-1, *LABELS[1:]]}, r"labels from -1 to 2"),
        ({"augmentation": Augmentation(8, True)}, r"crop_padding=8 must be below the image's side of 8 px"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(**changes)


def test_labels_are_renumbered_to_another_list_of_names() -> None:
    dataset = make().with_classes(["c", "a", "x", "b"], [1, 3, 0])
    assert [dataset.class_names[label] for label in dataset.labels] == ["a", "b", "c"] * 4
    assert torch.equal(dataset.pixels([3]), make().pixels([3]))
