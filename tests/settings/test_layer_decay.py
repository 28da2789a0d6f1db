"""What a recipe may say about the network it starts from, and how load_model follows it."""

import re
from pathlib import Path
from typing import Any

import pytest

from adsr_hf.networks.adapted import is_adapted
from adsr_hf.runs.model import load_model, load_processor
from adsr_hf.runs.recipe import recipe_from_settings
from adsr_hf.settings.model import ModelArguments
from tests.tiny import tiny_model, tiny_processor, tiny_vit

NAMES = ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    tiny_vit().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lora_rank": -1}, "lora_rank=-1 must be a whole number of at least 0"),
        ({"lora_rank": 2, "lora_alpha": 0.0}, "lora_alpha=0.0 must be a positive number"),
        ({"lora_rank": 2, "lora_dropout": 1.0}, "lora_dropout=1.0 must lie in [0, 0.99]"),
        ({"lora_alpha": 4.0}, "lora_alpha=4.0 has no effect with lora_rank=0"),
        ({"lora_targets": ["fc1"]}, "lora_targets=['fc1'] has no effect with lora_rank=0"),
        ({"lora_rank": 2, "freeze": ["embeddings"]}, "freeze=['embeddings'] does not go with lora_rank=2"),
        ({"attn_implementation": "fast"}, "attn_implementation='fast' is unknown; choose one of 'eager', 'sdpa'"),
        ({"image_size": 0}, "image_size=0 must be a whole number of at least 1"),
        ({"patch_size": -4}, "patch_size=-4 must be a whole number of at least 1"),
        ({"model_config": {"hidden_size": 8}}, "model_config describes a model from scratch"),
    ],
)
def test_values_that_are_not_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelArguments(model="start", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lora_rank": 2}, "from scratch would be random; give model instead of model_type"),
        ({"patch_size": 2}, "give it in model_config: {patch_size: 2}"),
    ],
)
def test_what_needs_a_checkpoint(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelArguments(model_type="vit", image_size=16, **fields)


def test_a_single_name_in_a_recipe_is_a_list_of_one() -> None:
    model = {"output_dir": "run", "dataset": "digits", "model": "start"}
    assert recipe_from_settings(model | {"freeze": "layers.0"}).model.freeze == ["layers.0"]
    assert recipe_from_settings(model | {"freeze": ["a", "layers.[0-3]"]}).model.freeze == ["a", "layers.[0-3]"]
    assert ModelArguments(model="start", lora_rank=2, lora_targets="fc1").lora_targets == ["fc1"]


def test_parts_are_frozen_and_the_first_line_says_so(start: str) -> None:
    found = load_model(ModelArguments(model=start, freeze=["embeddings"]), NAMES)
    frozen = [name for name, parameter in found.model.named_parameters() if not parameter.requires_grad]
    assert frozen == [name for name, _ in found.model.named_parameters() if "embeddings" in name]
    assert found.note.endswith("with its own head, 4 of 40 tensors frozen")


def test_from_scratch_too() -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    arguments = ModelArguments(model_type="vit", image_size=16, model_config=small, freeze=["embeddings"])
    model = load_model(arguments, NAMES).model
    assert not model.vit.embeddings.cls_token.requires_grad
    assert model.classifier.weight.requires_grad


def test_image_size_changes_network_and_processor(start: str) -> None:
    arguments = ModelArguments(model=start, image_size=24)
    assert load_model(arguments, NAMES).model.config.image_size == 24
    assert dict(load_processor(arguments).size)["height"] == 24
    assert dict(load_processor(ModelArguments(model=start)).size)["height"] == 16


def test_adapters_are_added_to_a_new_head(start: str) -> None:
    found = load_model(ModelArguments(model=start, lora_rank=2, lora_dropout=0.1), ["a", "b", "c"])
    assert is_adapted(found.model)
    assert found.model.config.num_labels == 3
    assert found.note.endswith("with a new head of 3 classes, adapters of rank 2")


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_is_computed_as_asked(start: str, implementation: str) -> None:
    model = load_model(ModelArguments(model=start, attn_implementation=implementation), NAMES).model
    assert model.config._attn_implementation == implementation
    assert "attn_implementation" not in model.config.to_dict()


def test_attention_that_a_network_does_not_have_is_refused(tmp_path: Path) -> None:
    tiny_model("resnet").save_pretrained(tmp_path)
    arguments = ModelArguments(model=str(tmp_path), attn_implementation="sdpa")
    with pytest.raises(ValueError, match=r"attn_implementation='sdpa' does not go with ResNetForImageClassification"):
        load_model(arguments, NAMES)
