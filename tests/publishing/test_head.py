"""A temperature folded into the head: what it does to logits, on every family; which heads are refused, unchanged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from transformers import AutoModelForImageClassification, ViTForImageClassification
from transformers.modeling_outputs import ImageClassifierOutput

from adsr_hf.networks import CifarResNetConfig, CifarResNetForImageClassification
from adsr_hf.publishing.head import UnfoldableHeadError, fold_temperature, foldable_head
from tests.tiny import CLASSES, FAMILIES, TinyImages, tiny_model, tiny_vit

IMAGES = TinyImages(16, seed=3).pixel_values
OTHERS = TinyImages(40, seed=4).pixel_values


def logits(model: nn.Module, images: Tensor = OTHERS) -> Tensor:
    with torch.no_grad():
        return model.eval()(pixel_values=images).logits


def cifar_resnet() -> nn.Module:
    torch.manual_seed(0)
    config = CifarResNetConfig(hidden_sizes=[4, 8], depths=[1, 1], strides=[1, 2], num_labels=CLASSES)
    return CifarResNetForImageClassification(config)


@pytest.mark.parametrize("temperature", [0.37, 1.61])
@pytest.mark.parametrize("family", [*FAMILIES, "cifar_resnet"])
def test_logits_are_divided_and_an_ordinary_checkpoint_keeps_that(
    tmp_path: Path, family: str, temperature: float
) -> None:
    model = cifar_resnet() if family == "cifar_resnet" else tiny_model(family)
    before, state = logits(model), {name: value.clone() for name, value in model.state_dict().items()}
    fold_temperature(model, temperature, IMAGES)
    after = logits(model)
    torch.testing.assert_close(after, before / temperature, rtol=1e-5, atol=1e-7)
    assert torch.equal(after.argmax(1), before.argmax(1))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
    assert {name.rpartition(".")[2] for name in changed} <= {"weight", "bias"}
    assert len({name.rpartition(".")[0] for name in changed}) == 1
    model.save_pretrained(tmp_path)
    restored, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(logits(restored), after)


def test_any_image_that_fools_one_fools_the_other() -> None:
    """What robustness is about: the answer to every input, attacked ones included."""
    model, folded = tiny_vit(seed=3), tiny_vit(seed=3)
    fold_temperature(folded, 2.7, IMAGES)
    noise = torch.randn(200, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(logits(model, noise).argmax(1), logits(folded, noise).argmax(1))


def test_modes_flags_and_hooks_stay_as_they_are() -> None:
    model = tiny_vit().train()
    model.classifier.weight.requires_grad_(False)
    parameter = model.classifier.weight
    fold_temperature(model, 2.0, IMAGES)
    assert model.training
    assert model.classifier.training
    assert model.classifier.weight is parameter
    assert not parameter.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


class ReusedHead(ViTForImageClassification):
    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutput:
        hidden = self.vit(pixel_values).last_hidden_state
        return ImageClassifierOutput(logits=self.classifier(hidden[:, 0]) * self.classifier(hidden[:, 1]))


class AveragedHeads(ViTForImageClassification):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.second = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutput:
        hidden = self.vit(pixel_values).last_hidden_state
        return ImageClassifierOutput(logits=(self.classifier(hidden[:, 0]) + self.second(hidden[:, 1])) / 2)


class CosineHead(ViTForImageClassification):
    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutput:
        answer = self.classifier(self.vit(pixel_values).last_hidden_state[:, 0])
        return ImageClassifierOutput(logits=nn.functional.normalize(answer, dim=1))


class Bounded(ViTForImageClassification):
    def forward(self, pixel_values: Tensor, **kwargs: Any) -> ImageClassifierOutput:
        return ImageClassifierOutput(logits=super().forward(pixel_values, **kwargs).logits.tanh())


class NearestMean(nn.Module):
    """No layer that could be scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.config = tiny_vit().config
        self.means = nn.Parameter(torch.randn(CLASSES, 3 * 16 * 16, generator=torch.Generator().manual_seed(0)))

    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutput:
        return ImageClassifierOutput(logits=-torch.cdist(pixel_values.flatten(1), self.means))


def with_weight_norm() -> nn.Module:
    model = tiny_vit()
    parametrizations.weight_norm(model.classifier)
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "computed twice": (lambda: ReusedHead(tiny_vit().config), "computes 'classifier', its last layer, 2 times"),
    "two averaged": (lambda: AveragedHeads(tiny_vit().config), "'second'.*several classifiers are combined"),
    "normalised": (lambda: CosineHead(tiny_vit().config), "does not divide the logits by 2 .*not linear"),
    "bounded": (lambda: Bounded(tiny_vit(initializer_range=1.0).config), "does not divide the logits"),
    "no layer": (NearestMean, "NearestMean computes no linear or convolutional layer"),
    "weight norm": (with_weight_norm, "weight of 'classifier'.*is computed from other tensors"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_head_that_cannot_be_folded_is_refused_and_left_alone(case: str) -> None:
    make, message = REFUSED[case]
    torch.manual_seed(0)
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for refused in (lambda: foldable_head(model, IMAGES), lambda: fold_temperature(model, 2.0, IMAGES)):
        with pytest.raises(UnfoldableHeadError, match=f"{message}.*calibrate='none'"):
            refused()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_tied_head_is_refused_by_name() -> None:
    model = tiny_vit(num_labels=16)
    other = next(
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.shape == (16, 16)
    )
    model.classifier.weight = other[1].weight
    with pytest.raises(UnfoldableHeadError, match=rf"'classifier'.*shares its weights with {other[0]}\.weight.*untie"):
        fold_temperature(model, 2.0, IMAGES)


def test_a_half_precision_head_never_changes_a_prediction() -> None:
    """Either every answer stays, or the temperature is refused: coarse weights decide which."""
    refused = 0
    for seed in range(6):
        model = tiny_vit(seed=seed).to(torch.bfloat16)
        before = logits(model, IMAGES.to(torch.bfloat16)).argmax(1)
        try:
            fold_temperature(model, 1.7, IMAGES)
        except UnfoldableHeadError:
            refused += 1
        assert torch.equal(logits(model, IMAGES.to(torch.bfloat16)).argmax(1), before)
    assert refused < 6
