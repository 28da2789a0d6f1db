import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adsr_hf.data.augmentation import crop_and_flip

WORD = 2**64
integers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
places = st.lists(st.integers(min_value=0, max_value=2**40), min_size=1, max_size=9)


def random_images(count: int, height: int = 6, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(1, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def splitmix(word: int) -> int:
    word = (word + 0x9E3779B97F4A7C15) % WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


def reference(image: np.ndarray, index: int, padding: int, flip: bool, seed: int, epoch: int) -> np.ndarray:
    """One image at a time, in Python's unbounded integers."""
    bits = splitmix(splitmix(splitmix(seed % WORD) ^ (epoch % WORD)) ^ index)
    top, left = ((bits >> shift) % 2**24 * (2 * padding + 1) // 2**24 for shift in (0, 24))
    height, width = image.shape[1:]
    padded = np.zeros((3, height + 2 * padding, width + 2 * padding), dtype=np.uint8)
    padded[:, padding : padding + height, padding : padding + width] = image
    crop = padded[:, top : top + height, left : left + width]
    return crop[:, :, ::-1] if flip and bits >> 63 else crop


def test_splitmix_gives_its_published_first_output_for_seed_zero() -> None:
    assert splitmix(0) == 0xE220A8397B1DCDAF


@given(indices=places, padding=st.integers(0, 4), flip=st.booleans(), seed=integers, epoch=integers)
@settings(max_examples=60, deadline=None)
def test_each_image_equals_the_reference(indices: list[int], padding: int, flip: bool, seed: int, epoch: int) -> None:
    images = random_images(len(indices))
    found = crop_and_flip(images, indices, padding=padding, flip=flip, seed=seed, epoch=epoch)
    expected = [
        reference(image.numpy(), index, padding, flip, seed, epoch)
        for image, index in zip(images, indices, strict=True)
    ]
    np.testing.assert_array_equal(found.numpy(), np.stack(expected))


@given(indices=places, seed=integers, epoch=integers, data=st.data())
@settings(max_examples=40, deadline=None)
def test_neither_order_nor_batch_matters(indices: list[int], seed: int, epoch: int, data: st.DataObject) -> None:
    images = random_images(len(indices))
    key = {"padding": 2, "flip": True, "seed": seed, "epoch": epoch}
    together = crop_and_flip(images, indices, **key)
    order = data.draw(st.permutations(range(len(indices))))
    shuffled = crop_and_flip(images[order], torch.tensor(indices)[order], **key)
    assert torch.equal(shuffled, together[order])
    alone = crop_and_flip(images[-1:], indices[-1:], **key)
    assert torch.equal(alone, together[-1:])


def test_every_place_and_both_sides_come_up_about_equally_often() -> None:
    count, padding = 20_000, 1
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).expand(count, 3, 3, 3)
    found = crop_and_flip(image, range(count), padding=padding, flip=True, seed=0, epoch=0)
    patterns, counts = np.unique(found[:, 0].flatten(1).numpy(), axis=0, return_counts=True)
    assert len(patterns) == 9 * 2
    expected = count / 18
    assert ((counts - expected) ** 2 / expected).sum() < 40.8  # chi-squared, 17 degrees of freedom, p = 0.001


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_another_seed_or_epoch_draws_anew(change: str) -> None:
    images, key = random_images(200, 8, 8), {"padding": 4, "flip": True, "seed": 0, "epoch": 0}
    drawn = [crop_and_flip(images, range(200), **(key | {change: value})) for value in range(4)]
    for first, second in itertools.combinations(drawn, 2):
        same = (first == second).flatten(1).all(1).float().mean()
        assert same < 0.05  # 1 / 162 by chance


def test_off_means_untouched() -> None:
    images = random_images(4)
    assert torch.equal(crop_and_flip(images, range(4), padding=0, flip=False, seed=1, epoch=2), images)


def test_the_input_is_not_changed() -> None:
    images = random_images(4)
    before = images.clone()
    crop_and_flip(images, range(4), padding=2, flip=True, seed=1, epoch=2)
    assert torch.equal(images, before)
