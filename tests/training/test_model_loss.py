"""A model's own loss, as its first batch shows it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

from adsr_hf.training.model_loss import ModelLoss, model_loss
from tests.tiny import CLASSES, FAMILIES, TinyImages, tiny_model, tiny_vit

PIXELS = TinyImages(6).pixel_values


class Weighted(nn.Module):
    """Cross-entropy, its sum over a count or its mean, and a term that grows with the logits."""

    def __init__(self, *, counts: bool, weight: float) -> None:
        super().__init__()
        self.inner, self.counts, self.weight = tiny_vit(), counts, weight

    def forward(
        self, pixel_values: Tensor, labels: Tensor, num_items_in_batch: int | None = None
    ) -> ImageClassifierOutput:
        logits = self.inner(pixel_values=pixel_values).logits
        count = num_items_in_batch if self.counts and num_items_in_batch is not None else len(labels)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum") / count
        return ImageClassifierOutput(loss=loss + self.weight * logits.square().sum(), logits=logits)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.25, 1e-3])
@pytest.mark.parametrize("takes_count", [True, False])
def test_what_is_added_and_what_is_counted(counts: bool, weight: float, takes_count: bool) -> None:
    model = Weighted(counts=counts, weight=weight)
    with torch.no_grad():
        added = weight * model.eval()(PIXELS, torch.arange(6) % CLASSES).logits.square().sum().item()
    found = model_loss(model, PIXELS, {}, CLASSES, takes_count=takes_count)
    assert found == ModelLoss(added=pytest.approx(added, rel=1e-3, abs=1e-5), counts=counts and takes_count)
    assert (found.added == 0) == (weight == 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_transformers_own_losses_are_the_cross_entropy(family: str, dtype: torch.dtype) -> None:
    found = model_loss(tiny_model(family).to(dtype), PIXELS.to(dtype), {}, CLASSES, takes_count=False)
    assert found == ModelLoss(added=0.0, counts=False)


def test_a_model_without_a_loss() -> None:
    class Silent(nn.Module):
        def forward(self, pixel_values: Tensor, labels: Any = None) -> ImageClassifierOutput:
            return ImageClassifierOutput(logits=torch.zeros(len(pixel_values), CLASSES))

    class Unlabelled(Silent):
        def forward(self, pixel_values: Tensor) -> ImageClassifierOutput:  # type: ignore[override]
            return ImageClassifierOutput(logits=torch.zeros(len(pixel_values), CLASSES))

    for model in (Silent(), Unlabelled()):
        assert model_loss(model, PIXELS, {}, CLASSES, takes_count=False) is None


def test_nothing_finite_adds_nothing() -> None:
    model = tiny_vit()
    with torch.no_grad():
        model.classifier.bias[0] = torch.inf
    found = model_loss(model, PIXELS, {}, CLASSES, takes_count=True)
    assert found is not None
    assert found.added == 0.0
