"""Every recipe parses, and trains for a few steps where its data are at hand."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from adsr_hf.runs.recipe import load_recipe
from adsr_hf.runs.train import train_recipe
from adsr_hf.settings.errors import UsageError
from adsr_hf.study.description import read_study

ROOT = Path(__file__).parents[2]
# Those whose data may lie beside this repository; tests/test_published_recipes.py has the others.
AT_HAND = {"digits", "steel", "cifar10_small"}
RECIPES = sorted(path for path in ROOT.glob("recipes/*/*.yaml") if path.parent.name in AT_HAND)


def few_steps(recipe: Path, folder: Path, *flags: str) -> list[str]:
    data = yaml.safe_load(recipe.read_text())["dataset"]
    if data.startswith("../"):
        data = str(ROOT / data)
        if not Path(data).is_dir():
            pytest.skip("the recipe's data are not at hand")
    return [
        *("--output_dir", str(folder), "--dataset", data, "--max_steps", "2", "--max_train_images", "40"),
        *("--max_eval_images", "20", "--eval_strategy", "steps", "--eval_steps", "0.5", "--save_strategy", "steps"),
        *("--save_steps", "1", "--per_device_train_batch_size", "20", "--eval_attack_steps", "2"),
        *(
            "--attack_steps",
            "2",
            "--epsilon_ramp_epochs",
            "0.5",
            "--disable_tqdm",
            "true",
            "--logging_steps",
            "1",
            *flags,
        ),
    ]


def test_there_is_a_recipe_for_each_data_set() -> None:
    assert {path.parent.name for path in RECIPES} == AT_HAND


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipe_trains_for_a_few_steps(recipe: Path, tmp_path: Path) -> None:
    described = load_recipe(recipe, few_steps(recipe, tmp_path / "run"))
    run = train_recipe(described.config, described.data, described.model)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["training"]["train_loss"] > 0
    assert 0 <= record["test"]["test_robust_accuracy"] <= record["test"]["test_accuracy"] <= 1
    assert run.trainer.state.global_step == 2
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "preprocessor_config.json").is_file()


@pytest.mark.parametrize("arm", ["clean", "AT", "ADSR"])
def test_demo_and_digits_recipes_are_the_same(arm: str) -> None:
    """The study that comes with the package trains what the repository has as single recipes."""
    study = read_study(Path(str(files("adsr_hf.study") / "demo" / "study.yaml")))
    (cell,) = [cell for cell in study.cells if cell.arm == arm and cell.seed == 0]
    method = {"clean": "clean", "AT": "pgd_at", "ADSR": "adsr"}[arm]
    recipe = yaml.safe_load((ROOT / "recipes" / "digits" / f"vit_{method}.yaml").read_text())
    assert {name: value for name, value in cell.settings.items() if name != "seed"} == recipe


def test_flags_win_over_the_file_and_pass_the_same_conversion(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("method: pgd_at\nepsilon: 4/255\nlearning_rate: 1e-4\nbf16: false\ndataset: digits\nmodel: m\n")
    recipe = load_recipe(path, ["--epsilon", "8/255"])
    assert recipe.config.epsilon == 8 / 255
    assert recipe.config.learning_rate == 1e-4
    assert recipe.config.bf16 is False
    assert recipe.config.output_dir == "runs/recipe"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epsilom: 8/255", "unknown key 'epsilom'.*did you mean 'epsilon'"),
        ("epsilon: 8/0", "epsilon: a radius must be a number"),
        ("method: addsr", "invalid choice: 'addsr'"),
        ("method: adsr\nmethod: clean", "key 'method' is given twice"),
        ("- method", "must map field names to values"),
        ("method: [", "is not valid YAML"),
        ("attack_steps: many", "attack_steps"),
        ("metric_for_best_model: robust_acuracy", "'robust_acuracy' is not a figure of adsr train's evaluations"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text + "\ndataset: digits\nmodel: m\n" if not text.startswith(("-", "method: [")) else text)
    with pytest.raises(UsageError, match=message):
        load_recipe(path, [])


def test_a_missing_recipe_and_an_unknown_flag_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml", [])
    with pytest.raises(UsageError, match="unknown key 'eps' in the command line"):
        load_recipe(None, ["--eps", "8/255"])
