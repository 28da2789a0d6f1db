"""Whose head a run starts from, and which class a model type gives."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    LevitConfig,
    LevitForImageClassificationWithTeacher,
    PreTrainedModel,
)

from adsr_hf.fine_tuning.head import head_tensors, renew_head
from adsr_hf.networks.classifier import check_trainable
from adsr_hf.runs.model import ModelAndLabels, load_model
from adsr_hf.settings.model import ModelArguments
from tests.tiny import FAMILIES, tiny_model

NAMES = ["apple", "bread", "dark chocolate", "fig"]
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 4,
}


def named(model: PreTrainedModel, names: list[str]) -> PreTrainedModel:
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    return model


def load(model: PreTrainedModel, folder: Path, class_names: list[str]) -> ModelAndLabels:
    model.save_pretrained(folder)
    torch.manual_seed(0)
    return load_model(ModelArguments(model=str(folder)), class_names)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_names_get_a_new_head_on_the_old_body(family: str, tmp_path: Path) -> None:
    old = named(tiny_model(family, seed=3), NAMES)
    head = head_tensors(old)
    assert head
    found = load(old, tmp_path, ["bolt", "nut", "screw", "washer"])
    assert "with a new head of 4 classes" in found.note
    before, after = old.state_dict(), found.model.state_dict()
    assert [name for name in head if before[name].ndim > 1 and not torch.equal(before[name], after[name])]
    assert [name for name in before if name not in head and not torch.equal(before[name], after[name])] == []
    assert list(found.model.config.id2label.values()) == ["bolt", "nut", "screw", "washer"]


def test_a_new_head_is_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    old, others = named(tiny_model("vit"), NAMES), ["bolt", "nut", "screw", "washer"]
    first = load(old, tmp_path, others).model.classifier.weight
    assert torch.equal(first, load(old, tmp_path, others).model.classifier.weight)
    torch.manual_seed(1)
    assert not torch.equal(first, load_model(ModelArguments(model=str(tmp_path)), others).model.classifier.weight)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_names_in_another_order_or_spelling_keep_their_own_rows(family: str, tmp_path: Path) -> None:
    old = named(tiny_model(family, seed=3), NAMES).eval()
    found = load(old, tmp_path, ["FIG", "apple ", "Dark_Chocolate", "bread"])
    assert "its own head, classes matched by name ('fig' is 'FIG'; 'apple' is 'apple '; " in found.note
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        wanted = old(pixel_values=images).logits[:, [3, 0, 2, 1]]
        torch.testing.assert_close(found.model.eval()(pixel_values=images).logits, wanted)
    assert found.model.config.label2id == {"FIG": 0, "apple ": 1, "Dark_Chocolate": 2, "bread": 3}


def test_the_same_names_keep_the_head(tmp_path: Path) -> None:
    old = named(tiny_model("vit", seed=3), NAMES)
    found = load(old, tmp_path, NAMES)
    assert found.note == f"{tmp_path} with its own head"
    assert torch.equal(found.model.classifier.weight, old.classifier.weight)


@pytest.mark.parametrize("others", [NAMES[:3], [*NAMES, "grape"]])
def test_fewer_or_more_names_get_a_new_head(others: list[str], tmp_path: Path) -> None:
    found = load(named(tiny_model("vit"), NAMES), tmp_path, others)
    assert f"with a new head of {len(others)} classes" in found.note
    assert found.model.classifier.weight.shape[0] == len(others)


def test_two_classes_that_differ_in_spelling_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("['Fig', 'FIG'] differ only in spelling")):
        load(named(tiny_model("vit"), NAMES), tmp_path, ["apple", "bread", "Fig", "FIG"])


def test_a_renewed_head_is_drawn_as_its_architecture_draws_it() -> None:
    """ConvNeXt's head by its initializer_range; a linear layer's own default would be five times as wide."""
    model = tiny_model("convnext", num_labels=400, initializer_range=0.02)
    torch.nn.init.ones_(model.classifier.weight)
    renew_head(model)
    assert model.classifier.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("model_type", "fields", "side", "name"),
    [
        ("deit", SMALL, 16, "DeiTForImageClassification"),
        (
            "levit",
            {
                "hidden_sizes": [16, 16, 16],
                "num_attention_heads": [1, 1, 1],
                "depths": [1, 1, 1],
                "key_dim": [8, 8, 8],
            },
            32,
            "LevitForImageClassification",
        ),
        (
            "perceiver",
            {
                "num_latents": 4,
                "d_latents": 16,
                "num_blocks": 1,
                "num_self_attends_per_block": 1,
                "num_self_attention_heads": 2,
                "num_cross_attention_heads": 1,
                "d_model": 16,
            },
            16,
            "PerceiverForImageClassificationLearned",
        ),
    ],
)
def test_types_with_several_classes_give_one_that_can_be_trained(
    model_type: str, fields: dict[str, Any], side: int, name: str
) -> None:
    arguments = ModelArguments(model_type=model_type, image_size=side, model_config=fields)
    model = load_model(arguments, ["a", "b", "c"]).model
    assert type(model).__name__ == name
    assert model(pixel_values=torch.rand(2, 3, side, side)).logits.shape == (2, 3)
    check_trainable(model)


@pytest.mark.parametrize("model_type", ["bert", "vitt"])
def test_a_type_that_classifies_no_images_is_named(model_type: str) -> None:
    with pytest.raises(ValueError, match=f"model_type='{model_type}'"):
        load_model(ModelArguments(model_type=model_type, image_size=16), ["a", "b"])


@pytest.mark.parametrize("family", ["deit", "levit"])
def test_a_two_headed_checkpoint_gives_the_class_that_can_be_trained(family: str, tmp_path: Path) -> None:
    """Its heads were made for an average: the plain class gets a new one, also for the same names."""
    if family == "deit":
        old: Any = DeiTForImageClassificationWithTeacher(DeiTConfig(image_size=16, num_labels=4, **SMALL))
    else:
        sizes = {"hidden_sizes": [16, 16, 16], "num_attention_heads": [1, 1, 1], "key_dim": [8, 8, 8]}
        old = LevitForImageClassificationWithTeacher(
            LevitConfig(image_size=32, depths=[1, 1, 1], num_labels=4, **sizes)
        )
    plain = type(old).__name__.removesuffix("WithTeacher")
    with pytest.raises(ValueError, match=f"inference only; train {plain}"):
        check_trainable(old)
    found = load(named(old, NAMES), tmp_path, NAMES)
    assert type(found.model).__name__ == plain
    assert f"as {plain}, since {plain}WithTeacher cannot be trained, with a new head of 4 classes" in found.note
    check_trainable(found.model)


@pytest.mark.parametrize(
    "fields", [{"hidden_size": "x"}, {"hidden_size": 48.5}, {"patch_size": 0}, {"hidden_act": "no such"}], ids=str
)
def test_a_config_that_no_network_has_is_refused_in_one_line(fields: dict[str, Any]) -> None:
    arguments = ModelArguments(model_type="vit", image_size=16, model_config=fields)
    with pytest.raises(ValueError, match=r"^model_type='vit' with .*; correct model_type or model_config$") as error:
        load_model(arguments, ["a", "b"])
    assert "\n" not in str(error.value)
