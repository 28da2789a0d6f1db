import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from adsr_hf.data.randaugment import OPERATIONS, SIGNED, apply_policy

SIDE = 16
KEYS: dict[str, Any] = {"operations": 2, "magnitude": 9.0, "seed": 3, "epoch": 5}


def random_images(count: int, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


# ---- each operation against Pillow's own, or, where it is Pillow's, against its definition in numpy -----------------


def grey_of(image: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma, (H, W, 1)."""
    return np.rint(image @ np.array([0.299, 0.587, 0.114]))[..., None]


def blend(image: np.ndarray, degenerate: np.ndarray, strength: float) -> np.ndarray:
    return np.clip(degenerate + (1 + 0.9 * strength) * (image - degenerate), 0, 255)


def smooth(image: np.ndarray) -> np.ndarray:
    """A 3 × 3 mean in which the centre counts five times; edges stay."""
    out = image.copy()
    inner = 4 * image[1:-1, 1:-1]
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            inner = inner + image[down : down + SIDE - 2, right : right + SIDE - 2]
    out[1:-1, 1:-1] = np.rint(inner / 13)
    return out


def warp(image: np.ndarray, source: Any) -> np.ndarray:
    """Nearest pixel at ``source(x, y)``, in continuous coordinates, or black."""
    out = np.zeros_like(image)
    for row in range(SIDE):
        for column in range(SIDE):
            x, y = (math.floor(value) for value in source(column + 0.5, row + 0.5))
            if 0 <= x < SIDE and 0 <= y < SIDE:
                out[row, column] = image[y, x]
    return out


def rotation(strength: float) -> Any:
    angle, middle = math.radians(30 * strength), SIDE / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    return lambda x, y: (
        middle + cosine * (x - middle) - sine * (y - middle),
        middle + sine * (x - middle) + cosine * (y - middle),
    )


EXACT: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, s: image,
    "autocontrast": lambda image, s: np.asarray(ImageOps.autocontrast(Image.fromarray(image))),
    "equalize": lambda image, s: np.asarray(ImageOps.equalize(Image.fromarray(image))),
    "solarize": lambda image, s: np.asarray(ImageOps.solarize(Image.fromarray(image), threshold=256 * (1 - s))),
    "posterize": lambda image, s: np.asarray(ImageOps.posterize(Image.fromarray(image), 8 - round(4 * s))),
    "contrast": lambda image, s: np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(1 + 0.9 * s)),
}
REFERENCES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "color": lambda image, s: blend(image, grey_of(image), s),
    "brightness": lambda image, s: blend(image, np.zeros_like(image), s),
    "sharpness": lambda image, s: blend(image, smooth(image), s),
    "rotate": lambda image, s: warp(image, rotation(s)),
    "shear_x": lambda image, s: warp(image, lambda x, y: (x + 0.3 * s * y, y)),
    "shear_y": lambda image, s: warp(image, lambda x, y: (x, y + 0.3 * s * x)),
    "translate_x": lambda image, s: warp(image, lambda x, y: (x + 150 / 331 * SIDE * s, y)),
    "translate_y": lambda image, s: warp(image, lambda x, y: (x, y + 150 / 331 * SIDE * s)),
}


@given(seed=st.integers(0, 1000), low=st.integers(0, 255), span=st.integers(1, 256), strength=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_operations_of_our_own_equal_pillows(seed: int, low: int, span: int, strength: float) -> None:
    levels = np.random.default_rng(seed).integers(low, min(low + span, 256), (24, 24, 3), dtype=np.uint8)
    levels[..., 2] = levels[..., 2] // 64 * 64  # few levels, or one
    for name, reference in EXACT.items():
        for signed in (strength, -strength) if name in SIGNED else (strength,):
            found = dict(OPERATIONS)[name](levels, signed)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, reference(levels, signed), err_msg=f"{name} {signed}")


@pytest.mark.parametrize("strength", [0.3, 1.0, -0.3, -1.0])
@pytest.mark.parametrize("name", REFERENCES)
def test_operations_of_pillow_follow_their_definition(name: str, strength: float) -> None:
    image = random_images(1)[0].permute(1, 2, 0).numpy()
    found = dict(OPERATIONS)[name](image, strength)
    expected = REFERENCES[name](image.astype(float), strength)
    # Pillow cuts fractions off and computes places in fixed point: a level, or a pixel on the edge between two.
    assert (np.abs(found - expected).max(2) <= 1).mean() > 0.97
    assert not np.array_equal(found, image)


def test_there_are_the_fourteen_operations_of_the_paper() -> None:
    assert sorted(name for name, _ in OPERATIONS) == sorted(EXACT | REFERENCES)
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize("name", [name for name, _ in OPERATIONS if name not in ("autocontrast", "equalize")])
def test_strength_zero_changes_nothing(name: str) -> None:
    image = random_images(1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(dict(OPERATIONS)[name](image, 0.0), image)


# ---- the policy -----------------------------------------------------------------------------------------------------


def test_every_operation_and_sign_comes_up_about_equally_often() -> None:
    count, image = 6000, random_images(1, side=12)
    found = apply_policy(image.expand(count, -1, -1, -1), range(count), **(KEYS | {"operations": 1, "magnitude": 30}))
    picture = image[0].permute(1, 2, 0).contiguous().numpy()
    expected: Counter[bytes] = Counter()
    for name, operation in OPERATIONS:
        for sign in (1, -1):
            result = operation(picture, sign if name in SIGNED else 1)
            expected[result.tobytes()] += count / len(OPERATIONS) / 2
    counts = Counter(image.permute(1, 2, 0).contiguous().numpy().tobytes() for image in found)
    assert counts.keys() == expected.keys()
    assert sum((counts[key] - mean) ** 2 / mean for key, mean in expected.items()) < 48.3  # 22 degrees, p = 0.001


@given(indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=6, unique=True), data=st.data())
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_batch_matters(indices: list[int], data: st.DataObject) -> None:
    images = random_images(len(indices))
    together = apply_policy(images, indices, **KEYS)
    order = data.draw(st.permutations(range(len(indices))))
    assert torch.equal(apply_policy(images[order], np.array(indices)[order], **KEYS), together[order])
    assert torch.equal(apply_policy(images[-1:], indices[-1:], **KEYS), together[-1:])
    # One epoch for each image, as where images of several passes meet in a batch.
    epochs = np.arange(len(indices))
    mixed = apply_policy(images, indices, **(KEYS | {"epoch": epochs}))
    alone = apply_policy(images[-1:], indices[-1:], **(KEYS | {"epoch": int(epochs[-1])}))
    assert torch.equal(mixed[-1:], alone)


@pytest.mark.parametrize("change", [{"seed": 4}, {"epoch": 6}, {"operations": 3}, {"magnitude": 20.0}])
def test_another_key_or_strength_gives_other_images(change: dict) -> None:
    images = random_images(64)
    one, other = (apply_policy(images, range(64), **(KEYS | keys)) for keys in ({}, change))
    assert (one != other).flatten(1).any(1).float().mean() > 0.5


@pytest.mark.parametrize("off", [{"operations": 0}, {"magnitude": 0.0}])
def test_off_means_untouched(off: dict) -> None:
    images = random_images(32)
    assert torch.equal(apply_policy(images, range(32), **(KEYS | off)), images)


def test_results_are_images_of_the_same_kind_and_the_input_is_not_changed() -> None:
    images = random_images(64)
    before = images.clone()
    found = apply_policy(images, range(64), **KEYS)
    assert (found.dtype, found.shape, found.is_contiguous()) == (torch.uint8, images.shape, True)
    assert torch.equal(images, before)


def test_grey_stays_grey() -> None:
    grey = random_images(200)[:, :1].expand(-1, 3, -1, -1)
    found = apply_policy(grey, range(200), **KEYS)
    assert torch.equal(found[:, :1].expand_as(found), found)
