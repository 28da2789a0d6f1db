"""Weights come back to the last bit, or not at all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adsr_hf.networks.weights import CheckpointError, check_finite, load_tensors, load_weights, save_tensors
from tests.snapshots import assert_identical
from tests.tiny import FAMILIES, tiny_model, tiny_trainer


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_reload_bit_equal(tmp_path: Path, family: str) -> None:
    trainer = tiny_trainer(tmp_path, model=tiny_model(family), max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    expected = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    for tensor in trainer.model.state_dict().values():
        tensor.add_(1)
    load_weights(trainer.model, tmp_path / "checkpoint-1")
    assert_identical(dict(trainer.model.state_dict()), expected)


@pytest.mark.parametrize("family", ["vit", "resnet"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_reload_bit_equal(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family).to(dtype)
    model.save_pretrained(tmp_path)
    other = tiny_model(family, seed=1).to(dtype)
    load_weights(other, tmp_path)
    assert_identical(dict(other.state_dict()), dict(model.state_dict()))


def test_sharded_weights_reload_bit_equal(tmp_path: Path) -> None:
    model = tiny_model("swin")
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert not (tmp_path / "model.safetensors").exists()
    other = tiny_model("swin", seed=1)
    load_weights(other, tmp_path)
    assert_identical(dict(other.state_dict()), dict(model.state_dict()))


def test_frozen_and_trained_flags_survive_loading(tmp_path: Path) -> None:
    model = tiny_model("vit")
    model.save_pretrained(tmp_path)
    model.vit.requires_grad_(False)
    storages = [parameter.data_ptr() for parameter in model.parameters()]
    load_weights(model, tmp_path)
    assert [parameter.requires_grad for parameter in model.classifier.parameters()] == [True, True]
    assert not any(parameter.requires_grad for parameter in model.vit.parameters())
    # The optimizer holds these very tensors.
    assert [parameter.data_ptr() for parameter in model.parameters()] == storages


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"num_labels": 6}, r"classifier\.bias is \(6,\), expected \(4,\)"),
        ({"num_hidden_layers": 1}, r"layers\.1\.\S+ is None, expected \(16,\)"),
        ({"num_hidden_layers": 3}, r"layers\.2\.\S+ is \(16,\), expected None"),
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path: Path, config: dict[str, Any], problem: str) -> None:
    tiny_model("vit", **config).save_pretrained(tmp_path)
    model = tiny_model("vit")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=problem):
        load_weights(model, tmp_path)
    assert_identical(dict(model.state_dict()), before)


def test_a_missing_weight_is_refused(tmp_path: Path) -> None:
    model = tiny_model("vit")
    model.save_pretrained(tmp_path)
    state = load_tensors(tmp_path / "model.safetensors")
    del state["classifier.bias"]
    save_tensors(tmp_path / "model.safetensors", state)
    with pytest.raises(CheckpointError, match=r"missing_keys.*classifier\.bias"):
        load_weights(model, tmp_path)


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    model = tiny_model("vit")
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_weights(model, tmp_path)


def test_missing_weights_are_refused_without_the_advice_to_convert_what_is_not_there(tmp_path: Path) -> None:
    model = tiny_model("vit")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors, nor any other weights") as caught:
        load_weights(model, tmp_path)
    assert "where you trust who made the file" not in str(caught.value)


class Wrapped(nn.Module):
    """A classifier that is no PreTrainedModel."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.inner = tiny_model("resnet", seed=seed)
        self.config = self.inner.config

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return self.inner(pixel_values=pixel_values)


def test_a_plain_module_reloads_bit_equal_too(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, model=Wrapped(), max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    other = Wrapped(seed=1)
    load_weights(other, tmp_path / "checkpoint-1")
    assert_identical(dict(other.state_dict()), dict(trainer.model.state_dict()))
    with pytest.raises(CheckpointError, match="does not fit Linear"):
        load_weights(nn.Linear(2, 2), tmp_path / "checkpoint-1")


def test_raw_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    state = {
        "float": torch.randn(3, 4).t(),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "count": torch.tensor(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "half": torch.randn(2).bfloat16(),
    }
    save_tensors(tmp_path / "x.safetensors", state)
    assert_identical(load_tensors(tmp_path / "x.safetensors"), state)


def test_broken_raw_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    with pytest.raises(CheckpointError, match=r"has no teacher\.safetensors"):
        load_tensors(path)
    path.write_bytes(b"\0" * 20)
    with pytest.raises(CheckpointError, match=r"is damaged: teacher\.safetensors"):
        load_tensors(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_destroyed_weights_are_named_with_their_step(value: float) -> None:
    model = nn.Linear(3, 2)
    check_finite(model, 5)
    model.bias.data[1] = value
    with pytest.raises(FloatingPointError, match="at step 5"):
        check_finite(model, 5)


def test_large_but_finite_weights_are_not_refused() -> None:
    model = nn.Linear(64, 64)
    model.weight.data.fill_(3e38)
    check_finite(model, 5)
