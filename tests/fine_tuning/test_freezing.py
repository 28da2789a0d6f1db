"""Parts that do not learn."""

from pathlib import Path
from typing import Any

import pytest
import torch

from adsr_hf.fine_tuning.freezing import freeze
from adsr_hf.networks.weights import CheckpointError
from tests.tiny import tiny_model, tiny_trainer, tiny_vit


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("embeddings", {"vit.embeddings"}),
        ("layers.1", {"vit.layers.1"}),
        ("layers.[0-1].mlp", {"vit.layers.0.mlp", "vit.layers.1.mlp"}),
        ("layers.*", {f"vit.layers.{index}" for index in range(11)}),
        ("vit", {"vit"}),
        ("classifier.bias", {"classifier.bias"}),
        ("?_proj", {f"vit.layers.{index}.attention.{name}_proj" for index in range(11) for name in "qkvo"}),
    ],
)
def test_a_pattern_is_a_run_of_whole_components(pattern: str, expected: set[str]) -> None:
    model = tiny_vit(num_hidden_layers=11)
    frozen = set(freeze(model, [pattern]))
    assert frozen == {
        name for name, _ in model.named_parameters() if any(f"{name}.".startswith(f"{part}.") for part in expected)
    }
    assert frozen == {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("family", ["vit", "swin", "resnet"])
def test_frozen_parts_do_not_move_in_training(tmp_path: Path, family: str) -> None:
    model = tiny_model(family)
    frozen = set(freeze(model, ["embedd*", "0"]))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = tiny_trainer(tmp_path, model=model, learning_rate=1e-2, weight_decay=0.1, max_steps=2)
    trainer.train()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert frozen
    assert not frozen & moved
    assert moved >= {name for name in before if name.startswith("classifier")}
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen


def test_a_run_is_not_continued_with_other_parts_frozen(tmp_path: Path) -> None:
    def trainer(*patterns: str) -> Any:
        model = tiny_vit()
        freeze(model, patterns)
        return tiny_trainer(tmp_path, model=model, method="clean", max_steps=1, save_strategy="steps", save_steps=1)

    trainer("embeddings", "layers.1").train()
    was = r"\['vit\.embeddings', 'vit\.embeddings\.patch_embeddings\.projection', 'vit\.layers\.1'\]"
    with pytest.raises(CheckpointError, match=rf"frozen was {was} and is now \['vit\.layers\.1'\]"):
        trainer("layers.1").train(resume_from_checkpoint=True)


def test_a_pattern_that_matches_nothing_is_refused_with_the_names_that_exist() -> None:
    model = tiny_vit()
    with pytest.raises(ValueError, match=r"freeze='encoder\.layer\.0' matches no parameter of ViT") as caught:
        freeze(model, ["embeddings", "encoder.layer.0"])
    for name in ("vit.embeddings.patch_embeddings.projection", "vit.layers.0", "vit.layers.1", "classifier"):
        assert name in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("pattern", ["layer", "ayers.1", "layers.01", "layers.1.", ""])
def test_parts_of_a_component_do_not_match(pattern: str) -> None:
    with pytest.raises(ValueError, match="matches no parameter"):
        freeze(tiny_vit(), [pattern])


def test_freezing_everything_is_refused() -> None:
    model = tiny_vit()
    with pytest.raises(ValueError, match=r"freeze=\['vit', 'classifier'\] leaves nothing to train"):
        freeze(model, ["vit", "classifier"])
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze(model, ["vit"])
    with pytest.raises(ValueError, match="leaves nothing to train"):
        freeze(model, ["classifier"])
