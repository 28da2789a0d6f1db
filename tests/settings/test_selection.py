"""Which figure chooses a run's checkpoints, when its recipe was written for another method."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from adsr_hf.runs.recipe import load_recipe, recipe_from_settings
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.selection import Layer, merged_layers
from adsr_hf.study.description import read_study
from tests.study.files import RECIPE, write_study

ROOT = Path(__file__).parents[2]
SELECTING = {"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 2}


def chosen(tmp_path: Path, recipe: dict[str, Any], *flags: str) -> tuple[str | None, bool | None]:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE | SELECTING | {"evaluate_weights": "both"} | recipe))
    config = load_recipe(path, list(flags)).config
    return config.metric_for_best_model, config.greater_is_better


def test_a_published_pair_of_recipes_has_its_clean_baseline_chosen_clean() -> None:
    recipe = ROOT / "recipes" / "inspection" / "small_resnet_pgd_at.yaml"
    assert load_recipe(recipe, []).config.metric_for_best_model == "teacher_robust_accuracy"
    assert load_recipe(recipe, ["--method", "clean"]).config.metric_for_best_model == "teacher_accuracy"


ROBUST = {"metric_for_best_model": "robust_accuracy"}
CLEAN, AT = ("--method", "clean"), ("--method", "pgd_at")


@pytest.mark.parametrize(
    ("recipe", "flags", "expected"),
    [
        # Written for the attacked method of the recipe, which the command line overrides.
        ({"method": "pgd_at", **ROBUST}, CLEAN, ("accuracy", True)),
        ({"method": "adsr", "metric_for_best_model": "eval_teacher_robust_ece"}, CLEAN, ("accuracy", True)),
        ({"method": "pgd_at", **ROBUST}, ("--objective=clean",), ("accuracy", True)),
        (
            {"method": "pgd_at", "metric_for_best_model": "robust_loss", "greater_is_better": False},
            CLEAN,
            ("accuracy", True),
        ),
        # Written in this run.
        ({"method": "pgd_at"}, (*CLEAN, "--metric_for_best_model", "robust_accuracy"), ("robust_accuracy", True)),
        ({"method": "pgd_at", **ROBUST}, (*CLEAN, "--metric_for_best_model=robust_ece"), ("robust_ece", False)),
        ({"method": "clean", **ROBUST}, (), ("robust_accuracy", True)),
        ({"method": "clean", **ROBUST}, ("--seed", "3"), ("robust_accuracy", True)),
        # No robust figure.
        ({"method": "pgd_at", "metric_for_best_model": "ece"}, CLEAN, ("ece", False)),
        ({"method": "pgd_at", **ROBUST}, ("--method", "trades"), ("robust_accuracy", True)),
        # A teacher's figure, and a method without one.
        ({"method": "adsr", "metric_for_best_model": "teacher_accuracy"}, CLEAN, ("accuracy", True)),
        ({"method": "adsr", "metric_for_best_model": "teacher_robust_ece"}, AT, ("robust_ece", False)),
        (
            {"method": "adsr", "metric_for_best_model": "teacher_mean_confidence", "greater_is_better": False},
            AT,
            ("mean_confidence", False),
        ),
        ({"method": "adsr", "publish": "teacher"}, CLEAN, ("teacher_accuracy", True)),
        # A direction belongs to the figure that it was written for.
        ({**ROBUST, "greater_is_better": True}, ("--metric_for_best_model", "ece"), ("ece", False)),
        ({"method": "pgd_at", **ROBUST}, (*CLEAN, "--greater_is_better", "false"), ("accuracy", False)),
    ],
)
def test_what_a_run_inherits(
    tmp_path: Path, recipe: dict[str, Any], flags: tuple[str, ...], expected: tuple[str, bool]
) -> None:
    assert chosen(tmp_path, recipe, *flags) == expected


def test_what_was_not_inherited_is_said(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE | SELECTING | ROBUST))
    (note,) = load_recipe(path, ["--method", "clean"]).notes
    assert note == (
        f"metric_for_best_model: the method's default, not 'robust_accuracy' of {path}, written for another method"
    )
    assert load_recipe(path, []).notes == ()


def test_a_teachers_figure_on_the_command_line_needs_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keeps no teacher; use 'accuracy', or publish='teacher'"):
        chosen(tmp_path, {"method": "pgd_at"}, "--metric_for_best_model", "teacher_accuracy")


@pytest.mark.parametrize(
    ("arms", "changes", "figures"),
    [
        ({"clean": {"method": "clean"}, "AT": {}}, {}, ["accuracy", "robust_accuracy"]),
        ({"clean": {"method": "clean"}, "AT": {}}, {"settings": ROBUST}, ["accuracy", "robust_accuracy"]),
        ({"clean": {"method": "clean"}, "AT": {}}, {"variants": {"v": ROBUST}}, ["accuracy", "robust_accuracy"]),
        (
            {"clean": {}, "AT": {"method": "pgd_at"}},
            {"settings": {"method": "clean", **ROBUST}},
            ["accuracy", "robust_accuracy"],
        ),
        ({"clean": {"method": "clean", **ROBUST}}, {}, ["robust_accuracy"]),
        ({"clean": {"method": "clean", "metric_for_best_model": "loss"}}, {"settings": ROBUST}, ["loss"]),
    ],
)
def test_each_arm_of_a_study_is_chosen_by_what_it_is(
    tmp_path: Path, arms: dict[str, Any], changes: dict[str, Any], figures: list[str]
) -> None:
    path = write_study(tmp_path, arms=arms, baseline=None, seeds=[0], evaluation={"threat": "Linf 0.1"}, **changes)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | SELECTING))
    study = read_study(path)
    configs = [recipe_from_settings(dict(cell.settings)).config for cell in study.cells]
    assert [config.metric_for_best_model for config in configs] == figures
    inherited = [arm for arm, figure in zip(arms, figures, strict=True) if changes and figure == "accuracy"]
    assert len(study.notes) == len(inherited)
    assert all("arm 'clean'" in note and "'robust_accuracy' of" in note for note in study.notes)


@pytest.mark.parametrize("method", ["clean", "pgd_at", "adsr"])
def test_a_method_is_not_overridden_by_what_an_earlier_layer_says(method: str) -> None:
    recipe = Layer("recipe.yaml", {"method": "adsr", "objective": "trades"})
    with pytest.raises(
        UsageError, match=f"method='{method}' of the command line would be trained with objective='trades'"
    ):
        merged_layers([recipe, Layer("the command line", {"method": method})])
    both = {"method": method, "objective": "trades"}
    assert merged_layers([recipe, Layer("the command line", both)])[0] == both
    assert merged_layers([recipe, Layer("the command line", {})])[0]["objective"] == "trades"
