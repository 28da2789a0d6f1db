"""Adapters on a classifier: what is trained, what is merged, and what is refused."""

import re
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.fine_tuning.lora import add_adapters
from adsr_hf.networks.adapted import (
    base_network,
    frozen_fingerprint,
    is_adapted,
    merged_copy,
    number_of_parameters,
    raw_state,
)
from adsr_hf.networks.classifier import number_of_classes
from tests.tiny import CLASSES, TinyImages, tiny_model, tiny_vit

ATTENDING = ("vit", "deit", "beit", "swin", "dinov2")


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model.eval()(pixel_values=TinyImages(4).pixel_values).logits


@torch.no_grad()
def train_a_little(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=generator) / 5)


@pytest.mark.parametrize("family", ATTENDING)
def test_query_value_and_head_are_trained_and_nothing_else(family: str) -> None:
    model = tiny_model(family)
    expected = logits(model)
    adapted = add_adapters(model, rank=2)
    torch.testing.assert_close(logits(adapted), expected, rtol=0, atol=1e-6)
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert {name.split(".")[-3] for name in trained if "lora_" in name} == {"lora_A", "lora_B"}
    assert {name.split(".")[-4] for name in trained if "lora_" in name} == {"q_proj", "v_proj"}
    assert {name.split(".")[2] for name in trained if "lora_" not in name} == {"classifier"}
    assert number_of_classes(adapted) == CLASSES


@pytest.mark.parametrize("family", ATTENDING)
def test_the_merged_copy_is_an_ordinary_network_with_the_same_logits(family: str) -> None:
    original = tiny_model(family)
    adapted = add_adapters(tiny_model(family), rank=2, alpha=8)
    train_a_little(adapted)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    merged = merged_copy(adapted)
    assert type(merged) is type(original)
    assert merged.state_dict().keys() == original.state_dict().keys()
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(merged), logits(original), atol=1e-2)
    assert adapted.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in adapted.state_dict().items())
    assert (
        number_of_parameters(adapted) == number_of_parameters(original) == sum(p.numel() for p in merged.parameters())
    )


def test_merged_weights_follow_the_papers_equation() -> None:
    adapted = add_adapters(tiny_vit(), rank=2, alpha=6)
    train_a_little(adapted)
    layer = base_network(adapted).vit.layers[1].attention.q_proj
    expected = layer.base_layer.weight + 6 / 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(merged_copy(adapted).vit.layers[1].attention.q_proj.weight, expected)


def test_all_linear_layers_and_the_norms_are_published_as_an_ordinary_network() -> None:
    adapted = add_adapters(tiny_vit(), rank=2, targets=["all"], train_norms=True)
    torch.testing.assert_close(logits(adapted), logits(tiny_vit()), rtol=0, atol=1e-6)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    plain = tiny_vit()
    linear = {name for name, module in plain.named_modules() if isinstance(module, nn.Linear) and name != "classifier"}
    norms = {name for name, module in plain.named_modules() if isinstance(module, nn.LayerNorm)}
    assert {
        name.removeprefix("base_model.model.").rpartition(".lora_A")[0] for name in trained if "lora_A" in name
    } == (linear)
    saved = {name.removeprefix("base_model.model.").rpartition(".modules_to_save")[0] for name in trained}
    assert saved - {""} == norms | {"classifier"}
    train_a_little(adapted)
    merged = merged_copy(adapted)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=0, atol=1e-5)
    assert number_of_parameters(adapted) == number_of_parameters(plain)
    moved = [not torch.equal(value, plain.state_dict()[name]) for name, value in merged.state_dict().items()]
    assert sum(moved) >= len(linear) + 2 * len(norms)


def test_all_needs_a_linear_layer() -> None:
    with pytest.raises(ValueError, match=r"lora_targets='all' stands for the linear modules.*has none"):
        add_adapters(tiny_model("resnet"), rank=2, targets=["all"])


def test_targets_of_ones_own() -> None:
    adapted = add_adapters(tiny_vit(), rank=3, targets=["fc1", "vit.layers.0.attention.k_proj"])
    shapes = {name: tuple(p.shape) for name, p in adapted.named_parameters() if "lora_A" in name}
    assert sorted(name.split(".")[-4] for name in shapes) == ["fc1", "fc1", "k_proj"]
    assert set(shapes.values()) == {(3, 16)}


def test_convolutions_can_be_adapted() -> None:
    model = tiny_model("convnext")
    adapted = add_adapters(model, rank=2, targets=["pwconv1", "patch_embeddings"])
    train_a_little(adapted)
    torch.testing.assert_close(logits(merged_copy(adapted)), logits(adapted), rtol=0, atol=1e-5)


def test_a_target_that_matches_nothing_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match=r"lora_targets='query' matches no linear .*q_proj, k_proj.*fc1, fc2$"):
        add_adapters(tiny_vit(), rank=2, targets=["q_proj", "query"])


def test_the_head_is_no_target_since_it_is_trained_as_a_whole() -> None:
    with pytest.raises(ValueError, match="lora_targets='classifier' matches no"):
        add_adapters(tiny_vit(), rank=2, targets=["classifier"])


def test_without_attention_targets_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"ResNetForImageClassification has no attention .* among: convolution$"):
        add_adapters(tiny_model("resnet"), rank=2)


def test_a_missing_peft_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        ImportError, match=re.escape("lora_rank=2 needs PEFT, which is not installed: pip install 'ad")
    ):
        add_adapters(tiny_vit(), rank=2)


def test_the_raw_state_holds_what_is_trained_and_buffers() -> None:
    plain = tiny_model("resnet")
    assert raw_state(plain).keys() == plain.state_dict().keys()
    adapted = add_adapters(plain, rank=2, targets=["convolution"])
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert raw_state(adapted).keys() == trained | {name for name, _ in adapted.named_buffers()}
    assert not is_adapted(tiny_vit())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fingerprint_is_that_of_the_frozen_weights_alone(dtype: torch.dtype) -> None:
    first, second = (add_adapters(tiny_vit().to(dtype), rank=2) for _ in range(2))
    train_a_little(second)
    assert frozen_fingerprint(first) == frozen_fingerprint(second)
    with torch.no_grad():
        base_network(second).vit.layernorm.bias[0] += 1
    assert frozen_fingerprint(first) != frozen_fingerprint(second)
