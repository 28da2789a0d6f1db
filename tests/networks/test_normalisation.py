"""Inputs that were normalised in another way than the processor says; and every kind of genuine ones, none refused."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ViTImageProcessor

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.evaluation import Plan, evaluate
from adsr_hf.networks.normalisation import COMMON_SPACES, NormalisationCheck
from tests.tiny import TinyImages, tiny_processor, tiny_trainer, tiny_vit

SPACES = tuple(COMMON_SPACES.values())
HALF = PixelSpace((0.5,), (0.5,))
RAW = PixelSpace((0.0,), (1.0,))


def photographs(side: int = 16) -> Tensor:
    """(64, 3, side, side) in [0, 1], multiples of 1/255: smooth, with black, white and everything between."""
    coarse = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = functional.interpolate(coarse, size=(side, side), mode="bicubic").mul(1.4).sub(0.2).clamp(0, 1)
    return (smooth * 255).round() / 255


def look(space: PixelSpace, values: Tensor, batch: int = 8) -> list[str]:
    """What the first batches give rise to; a refusal is raised."""
    check = NormalisationCheck(space)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for part in values.split(batch):
            space.recover(part)
            check.look(part)
    return [str(warning.message) for warning in caught]


def grey(images: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return (images * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1)


def mixed(images: Tensor) -> Tensor:
    share = torch.rand(len(images), 1, 1, 1, generator=torch.Generator().manual_seed(1))
    return share * images + (1 - share) * images.flip(0)


GENUINE = {
    "as they are": lambda x: x,
    "cropped": lambda x: x[:, :, 3:13, 2:12],
    "interpolated": lambda x: functional.interpolate(x, size=(11, 11), mode="bilinear", antialias=True),
    "averaged": lambda x: functional.avg_pool2d(x, 2),
    "grey": grey,
    "mixed": mixed,
    "mixed by halves": lambda x: (x + x.flip(0)) / 2,
    "noisy": lambda x: (x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1),
    "16 bits": lambda x: (x * 65535 * 0.9999).round() / 65535,
    "16 grey levels": lambda x: (x * 15).round() / 15,
    "black and white": lambda x: (x > 0.5).float(),
    "dark": lambda x: (x * 255 * 0.3).round() / 255,
    "nearly black": lambda x: (x > 0.5).float() / 255,
    "bright": lambda x: ((0.6 + 0.4 * x) * 255).round() / 255,
    "flat": lambda x: ((0.4 + 0.2 * x) * 255).round() / 255,
    "black": torch.zeros_like,
}


@pytest.mark.parametrize("kind", GENUINE)
def test_genuine_images_pass_without_a_word(kind: str) -> None:
    images = GENUINE[kind](photographs())
    for space in (*SPACES, PixelSpace((0.0,), (1.0,), scale=255.0), PixelSpace((0.5,), (0.5,), scale=2.0)):
        assert look(space, space.to_pixel_values(images)) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_pass_too(dtype: torch.dtype) -> None:
    for space in SPACES:
        assert look(space, space.to_pixel_values(photographs()).to(dtype)) == []


def test_whole_grey_levels_pass() -> None:
    space = PixelSpace((0.0,), (1.0,), scale=255.0)
    assert look(space, (photographs() * 255).to(torch.uint8)) == []


@pytest.mark.parametrize("size", [16, 24])
@pytest.mark.parametrize("settings", [{}, {"do_normalize": False}, {"image_mean": [0.48, 0.46, 0.41]}], ids=str)
def test_what_a_processor_makes_passes(size: int, settings: dict[str, Any]) -> None:
    """Resized or not, also where only the darkest images are looked at."""
    pictures = (photographs() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for images in (pictures, (pictures * 0.25).astype(np.uint8)):
        processor = ViTImageProcessor(size={"height": size, "width": size}, **settings)
        values = processor(list(images), return_tensors="pt")["pixel_values"]
        assert look(PixelSpace.from_processor(processor), values) == []


@pytest.mark.parametrize(("is_space", "said_space"), list(itertools.permutations(SPACES, 2)))
@pytest.mark.parametrize("kind", ["as they are", "cropped", "dark"])
def test_every_other_normalisation_is_refused(is_space: PixelSpace, said_space: PixelSpace, kind: str) -> None:
    values = is_space.to_pixel_values(GENUINE[kind](photographs()))
    with pytest.raises(ValueError, match=r"pixel_values do not match the processor's normalisation"):
        look(said_space, values)


def test_the_refusal_names_both_and_the_way_out() -> None:
    with pytest.raises(
        ValueError, match=r"not normalised at all.*mean=\(0\.5,\), std=\(0\.5,\).*0\.500 to 1\.000.*pixel_space="
    ):
        look(HALF, photographs())


@pytest.mark.parametrize("space", [HALF, RAW], ids=str)
def test_divided_by_255_twice(space: PixelSpace) -> None:
    with pytest.raises(ValueError, match="divided by 255 twice"):
        look(space, space.to_pixel_values(photographs() / 255))


@pytest.mark.parametrize(
    "values", [functional.avg_pool2d(photographs(), 2), 0.9 * HALF.to_pixel_values(photographs()).clamp(0, 1)]
)
def test_images_on_no_grid_that_are_all_bright_are_warned_of_once(values: Tensor) -> None:
    (warned,) = look(HALF, values)
    assert "the first 32 images have pixels from 0.5" in warned


def test_few_images_prove_nothing_by_their_range() -> None:
    assert look(HALF, functional.avg_pool2d(photographs(), 2)[:24]) == []


def test_later_images_are_not_looked_at() -> None:
    check = NormalisationCheck(HALF)
    check.look(HALF.to_pixel_values(photographs()))
    check.look(photographs())


class Raw(TinyImages):
    """Never normalised."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.pixel_values = self.pixels


def half() -> Any:
    return tiny_processor(image_mean=[0.5] * 3, image_std=[0.5] * 3)


class TestWhereImagesEnter:
    @pytest.mark.parametrize("method", ["clean", "adsr"])
    def test_training(self, tmp_path: Path, method: str) -> None:
        trainer = tiny_trainer(tmp_path, processing_class=half(), train_dataset=Raw(16), method=method)
        with pytest.raises(ValueError, match="not normalised at all"):
            trainer.train()

    def test_evaluating_in_training(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not normalised at all"):
            tiny_trainer(tmp_path, processing_class=half(), eval_dataset=Raw(16)).evaluate()

    def test_an_evaluation(self) -> None:
        plan = Plan(threats=(ThreatModel.parse("Linf 8/255"),), attacks=("pgd",), num_steps=1)
        with pytest.raises(ValueError, match="not normalised at all"):
            evaluate(tiny_vit(), Raw(16), plan, pixel_space=HALF, show_progress=False)
