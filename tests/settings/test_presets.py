"""A preset fills in what nobody wrote, in Python, in a recipe and on the command line, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from adsr_hf import ADSRConfig
from adsr_hf.runs.recipe import load_recipe, recipe_from_settings
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.presets import PRESETS, with_preset

RECIPE = {"preset": "fine_tune", "dataset": "digits", "model_type": "vit", "image_size": 8, "use_cpu": True}


def recipe(folder: Path, **settings: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE | settings))
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_alone_is_allowed_and_sets_each_of_its_fields(name: str, tmp_path: Path) -> None:
    config = ADSRConfig(output_dir=str(tmp_path), preset=name, use_cpu=True)
    assert {field: getattr(config, field) for field in PRESETS[name]} == PRESETS[name]


def test_python_recipe_and_command_line_agree(tmp_path: Path) -> None:
    written = ADSRConfig(output_dir="runs/x", preset="fine_tune", trades_beta=3.0, use_cpu=True)
    from_file = load_recipe(recipe(tmp_path, output_dir="runs/x", trades_beta=3.0), []).config
    given = load_recipe(recipe(tmp_path, output_dir="runs/x"), ["--trades_beta", "3"]).config
    assert written.to_dict() == from_file.to_dict() == given.to_dict()
    assert (written.trades_beta, written.layer_decay) == (3.0, 0.75)


def test_what_is_written_wins_though_it_is_the_default(tmp_path: Path) -> None:
    assert load_recipe(recipe(tmp_path, layer_decay=1.0), []).config.layer_decay == 1.0
    assert load_recipe(recipe(tmp_path), ["--calibrate", "none"]).config.calibrate == "none"
    assert ADSRConfig(output_dir="x", preset="fine_tune", calibrate="none", use_cpu=True).calibrate == "none"
    assert recipe_from_settings(RECIPE | {"layer_decay": None}).config.layer_decay == 1.0


def test_a_copy_is_what_it_was() -> None:
    config = ADSRConfig(output_dir="x", preset="fine_tune", layer_decay=1.0, use_cpu=True)
    assert replace(config, seed=3).layer_decay == 1.0


@pytest.mark.parametrize(
    ("written", "gone"),
    [
        ({"method": "pgd_at"}, {"method"}),
        ({"labels": "adsr"}, {"method"}),
        ({"epsilon_ramp_epochs": 1.0}, {"epsilon_zero_share", "epsilon_ramp_share"}),
        ({"epsilon_ramp_share": 0.2}, {"epsilon_ramp_share"}),
        ({"teacher_decay": 0.9}, {"teacher_memory"}),
        ({"learning_rate_drops": [0.5], "lr_scheduler_type": "constant"}, {"lr_scheduler_type", "warmup_steps"}),
        ({"warmup_steps": 0}, {"warmup_steps"}),
    ],
)
def test_what_says_the_same_in_other_words_takes_its_place(written: dict[str, Any], gone: set[str]) -> None:
    filled = with_preset({"preset": "fine_tune"} | written)
    taken = {name for name, value in PRESETS["fine_tune"].items() if filled.get(name, object()) != value}
    assert taken == gone
    ADSRConfig(output_dir="x", use_cpu=True, **filled)


@pytest.mark.parametrize("method", ["clean", "pgd_at", "trades", "mart", "adsr"])
def test_every_method_goes_with_it(method: str) -> None:
    config = ADSRConfig(output_dir="x", preset="fine_tune", method=method, use_cpu=True)
    assert config.method == method


def test_a_misspelt_preset_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="preset='finetune' is unknown; choose one of 'fine_tune'"):
        ADSRConfig(output_dir="x", preset="finetune")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'finetune'"):
        load_recipe(recipe(tmp_path, preset="finetune"), [])
