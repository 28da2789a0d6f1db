"""What a model must be to be trained here, and the function that attacks differentiate."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

from adsr_hf.attacks import PixelSpace
from adsr_hf.networks.classifier import bare_copy, logits_of, number_of_classes, pixels_to_logits
from tests.tiny import CLASSES, FAMILIES, MEAN, STD, TinyImages, tiny_model, tiny_vit


@pytest.mark.parametrize("family", FAMILIES)
def test_number_of_classes_is_the_heads(family: str) -> None:
    assert number_of_classes(tiny_model(family, num_labels=7)) == 7


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"problem_type": "regression"}, "config.problem_type='regression'"),
        ({"problem_type": "multi_label_classification"}, "config.problem_type='multi_label_classification'"),
        ({"num_labels": 1}, "num_labels=1"),
    ],
)
def test_other_problems_are_refused(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        number_of_classes(tiny_vit(**config))


def test_a_model_without_a_config_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model=Linear has num_labels=None.*AutoModelForImageClassification"):
        number_of_classes(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("logits", "found"),
    [
        (torch.zeros(2, 5), r"shape \(2, 5\)"),
        (torch.zeros(2), r"shape \(2,\)"),
        (torch.zeros(2, 3, CLASSES), r"shape \(2, 3, 4\)"),
        ((torch.zeros(2, CLASSES), torch.zeros(2, CLASSES)), "tuple instead of one"),
        (None, "NoneType instead of one"),
    ],
)
def test_logits_of_another_kind_are_refused(logits: Any, found: str) -> None:
    with pytest.raises(ValueError, match=rf"\(B, 4\), got {found} in ImageClassifierOutput"):
        logits_of(ImageClassifierOutput(logits=logits), CLASSES)


def test_a_plain_tuple_as_output_is_refused() -> None:
    with pytest.raises(ValueError, match=r"NoneType instead of one in tuple"):
        logits_of((torch.zeros(2, CLASSES),), CLASSES)


class TestPixelsToLogits:
    space = PixelSpace(MEAN, STD)

    @pytest.fixture
    def images(self) -> TinyImages:
        return TinyImages(4)

    def test_equals_the_model_on_normalised_inputs(self, images: TinyImages) -> None:
        model = tiny_vit().eval()
        logits_fn = pixels_to_logits(model, self.space, CLASSES)
        expected = model(pixel_values=images.pixel_values).logits
        torch.testing.assert_close(logits_fn(images.pixels), expected)

    def test_other_inputs_reach_the_model(self, images: TinyImages) -> None:
        model = tiny_vit(image_size=8).eval()
        logits_fn = pixels_to_logits(model, self.space, CLASSES, interpolate_pos_encoding=True)
        assert logits_fn(images.pixels).shape == (4, CLASSES)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_inputs_take_the_dtype_of_the_weights(self, images: TinyImages, dtype: torch.dtype) -> None:
        logits_fn = pixels_to_logits(tiny_vit().to(dtype).eval(), self.space, CLASSES)
        pixels = images.pixels.requires_grad_(True)
        logits = logits_fn(pixels)
        (gradient,) = torch.autograd.grad(logits.float().square().sum(), pixels)
        assert logits.dtype == dtype
        assert gradient.dtype == torch.float32
        assert gradient.abs().sum() > 0


def test_bare_copy_is_equal_and_independent() -> None:
    model = tiny_model("resnet")
    copied = bare_copy(model)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()
    result: dict[str, Tensor] = copied.state_dict()
    assert all(torch.equal(result[name], value) for name, value in expected.items())
    assert result.keys() == expected.keys()
