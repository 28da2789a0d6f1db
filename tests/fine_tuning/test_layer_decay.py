"""Learning rates by depth: the scale of each layer, the optimizer's groups, and a continued run."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adsr_hf.fine_tuning.layer_decay import SCALE, learning_rate_scales, split_groups
from adsr_hf.networks.weights import CheckpointError
from tests.snapshots import Crash, CrashAfter, assert_identical, snapshot
from tests.tiny import FAMILIES, tiny_config, tiny_model, tiny_trainer, tiny_vit
from tests.tiny_runs import Case

# With blocks numbered from 0 over all stages: the power of the decay for one parameter of each depth.
EXPECTED = {
    "vit": {
        "vit.embeddings.cls_token": 4,
        "vit.embeddings.position_embeddings": 4,
        "vit.embeddings.patch_embeddings.projection.weight": 4,
        "vit.layers.0.attention.q_proj.bias": 3,
        "vit.layers.1.layernorm_before.weight": 2,
        "vit.layers.2.mlp.fc2.weight": 1,
        "vit.layernorm.weight": 0,
        "classifier.bias": 0,
    },
    "swin": {
        "swin.embeddings.norm.weight": 4,
        "swin.encoder.layers.0.blocks.0.mlp.fc1.weight": 3,
        "swin.encoder.layers.0.blocks.1.mlp.fc1.weight": 2,
        "swin.encoder.layers.0.downsample.reduction.weight": 2,
        "swin.encoder.layers.1.blocks.0.mlp.fc1.weight": 1,
        "swin.layernorm.bias": 0,
    },
    "convnext": {
        "convnext.embeddings.patch_embeddings.weight": 4,
        "convnext.encoder.stages.0.layers.0.dwconv.weight": 3,
        "convnext.encoder.stages.0.layers.1.pwconv1.weight": 2,
        "convnext.encoder.stages.1.downsampling_layer.1.weight": 1,
        "convnext.encoder.stages.1.layers.0.pwconv2.weight": 1,
        "classifier.weight": 0,
    },
}
DEPTHS: dict[str, dict[str, Any]] = {
    "vit": {"num_hidden_layers": 3},
    "swin": {"depths": [2, 1]},
    "convnext": {"depths": [2, 1]},
}


@pytest.mark.parametrize("family", EXPECTED)
def test_each_layer_has_the_power_of_its_depth(family: str) -> None:
    scales = learning_rate_scales(tiny_model(family, **DEPTHS[family]), 0.7)
    for name, power in EXPECTED[family].items():
        assert scales[name] == pytest.approx(0.7**power), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_rises_from_embeddings_to_head(family: str) -> None:
    model = tiny_model(family)
    scales = learning_rate_scales(model, 0.5)
    # Two blocks everywhere: embeddings, block, block, head.
    assert set(scales.values()) == {0.125, 0.25, 0.5, 1.0}
    assert list(scales) == [name for name, _ in model.named_parameters()]
    heads = [name for name in scales if name.startswith("classifier")]
    assert heads
    assert all(scales[name] == 1 for name in heads)
    assert all((scales[name] == 0.125) == ("embed" in name) for name in scales)


def test_more_than_nine_blocks_are_ordered_as_numbers() -> None:
    scales = learning_rate_scales(tiny_vit(num_hidden_layers=11), 0.9)
    assert scales["vit.layers.10.mlp.fc1.bias"] == pytest.approx(0.9)
    assert scales["vit.layers.2.mlp.fc1.bias"] == pytest.approx(0.9**9)


def test_a_network_without_numbered_blocks_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"layer_decay=0\.7 needs a network whose embeddings .* Sequential has .*0\.w"
    ):
        learning_rate_scales(nn.Sequential(nn.Linear(2, 2)), 0.7)


def test_groups_keep_trainers_weight_decay(tmp_path: Path) -> None:
    """Against Trainer's own two groups, parameter by parameter."""
    settings = {"weight_decay": 0.05, "learning_rate": 1e-3}
    plain = tiny_trainer(tmp_path, **settings)
    plain.create_optimizer()
    decayed = tiny_trainer(tmp_path, layer_decay=0.5, **settings)
    decayed.create_optimizer()

    def by_name(trainer: Any) -> dict[str, dict[str, Any]]:
        names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
        return {names[id(p)]: group for group in trainer.optimizer.param_groups for p in group["params"]}

    expected, found = by_name(plain), by_name(decayed)
    assert found.keys() == expected.keys()
    scales = learning_rate_scales(decayed.model, 0.5)
    for name, group in found.items():
        assert group["weight_decay"] == expected[name]["weight_decay"]
        assert group["lr"] == pytest.approx(1e-3 * scales[name])
    assert {group["weight_decay"] for group in found.values()} == {0.0, 0.05}
    # What Trainer logs is the learning rate that was asked for.
    assert decayed.optimizer.param_groups[0]["lr"] == 1e-3


def test_steps_are_as_large_as_their_scale(tmp_path: Path) -> None:
    """The first step of SGD, against one that has the same rate everywhere."""
    moved = []
    sgd = {"optim": "sgd", "learning_rate": 1.0, "max_steps": 1, "max_grad_norm": 0.0, "method": "clean"}
    for decay in (1.0, 0.5):
        trainer = tiny_trainer(tmp_path, layer_decay=decay, **sgd)
        before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
        trainer.train()
        moved.append({n: p.detach() - before[n] for n, p in trainer.model.named_parameters()})
    scales = learning_rate_scales(tiny_vit(), 0.5)
    for name, full in moved[0].items():
        torch.testing.assert_close(moved[1][name], full * scales[name], rtol=1e-3, atol=1e-6)


def test_frozen_parameters_are_in_no_group(tmp_path: Path) -> None:
    model = tiny_vit()
    model.vit.embeddings.requires_grad_(False)
    trainer = tiny_trainer(tmp_path, model=model, layer_decay=0.5)
    trainer.create_optimizer()
    assert {group[SCALE] for group in trainer.optimizer.param_groups} == {0.25, 0.5, 1.0}


def test_continued_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    case = Case(layer_decay=0.6, weight_decay=0.1)
    whole = case.trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Crash):
        case.trainer(tmp_path / "cut", callbacks=[CrashAfter(7)]).train()
    continued = case.trainer(tmp_path / "cut", seed=99)
    continued.train(resume_from_checkpoint=True)
    assert_identical(snapshot(continued), snapshot(whole))
    assert len({group["lr"] for group in continued.optimizer.param_groups}) == 1  # all have come down to zero
    assert len({group["initial_lr"] for group in continued.optimizer.param_groups}) == 4
    for other in (0.7, 1.0):
        with pytest.raises(CheckpointError, match=rf"layer_decay was 0\.6 and is now {other}"):
            Case(layer_decay=other, weight_decay=0.1).trainer(tmp_path / "cut").train(resume_from_checkpoint=True)


def test_an_optimizer_of_the_users_own_is_refused_unless_it_is_split(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, layer_decay=0.5, max_steps=1)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"layer_decay=0\.5 does not go with an optimizer of your own.*split_groups"):
        trainer.train()
    own = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    own.param_groups[:] = split_groups(own.param_groups, trainer.model, learning_rate_scales(trainer.model, 0.5))
    trainer.optimizer = own
    trainer.train()


def test_an_optimizer_that_hides_parameters_is_refused() -> None:
    model = tiny_vit()
    groups = [{"params": list(model.parameters())[1:], "lr": 0.1}]
    with pytest.raises(ValueError, match="exactly the trained parameters"):
        split_groups(groups, model, learning_rate_scales(model, 0.5))


@pytest.mark.parametrize("decay", [0, -0.5, 1.01, math.nan, "0.5"])
def test_a_decay_outside_its_range_is_refused(tmp_path: Path, decay: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"layer_decay={decay!r} must lie in (0, 1]")):
        tiny_config(tmp_path, layer_decay=decay)
