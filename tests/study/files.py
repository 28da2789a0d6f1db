"""Study files and made-up results for tests."""

from pathlib import Path
from typing import Any

import yaml

from adsr_hf.study.cells import Cell, begin, finish
from adsr_hf.study.description import Study, read_study
from tests.evaluation.fake_records import write_fake_run

# The digits with a network of two thousand weights: about a second a cell.
RECIPE: dict[str, Any] = {
    "method": "pgd_at",
    "norm": "Linf",
    "epsilon": 0.1,
    "attack_steps": 1,
    "eval_attack_steps": 1,
    "evaluate_weights": "student",
    "eval_strategy": "steps",
    "eval_steps": 2,
    "dataset": "digits",
    "crop_padding": 0,
    "horizontal_flip": False,
    "max_train_images": 40,
    "max_eval_images": 20,
    "model_type": "vit",
    "image_size": 8,
    "model_config": {
        "patch_size": 4,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    },
    "max_steps": 2,
    "per_device_train_batch_size": 20,
    "learning_rate": 0.01,
    "save_strategy": "no",
    "logging_steps": 1,
    "report_to": "none",
}


def study_content(**changes: Any) -> dict[str, Any]:
    """A study file's content; None leaves a key out."""
    content = {
        "title": "A study",
        "recipe": "recipe.yaml",
        "arms": {"AT": {}, "AT + LS": {"label_smoothing_factor": 0.1}},
        "seeds": [0, 1],
        "baseline": "AT",
        "evaluation": {"attack_steps": 2},
    } | changes
    return {key: value for key, value in content.items() if value is not None}


def write_study(folder: Path, **changes: Any) -> Path:
    """A study file with its recipe beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    path = folder / "study.yaml"
    content = study_content(**{"output_dir": str(folder / "out")} | changes)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def fake_study(folder: Path, results: dict[str, dict[str, Any]], **changes: Any) -> Study:
    """A study whose cells are all finished, with made-up records.

    Args:
        results: arm to arguments of ``write_fake_run``; an arm that is not named stays unfinished.
    """
    study = read_study(write_study(folder, **changes))
    for cell in study.cells:
        if cell.arm in results:
            finish_with_fakes(cell, **results[cell.arm])
    return study


def finish_with_fakes(cell: Cell, **settings: Any) -> None:
    begin(cell)
    write_fake_run(cell.folder, train_seed=cell.seed + 10 * sum(map(ord, cell.arm)), **settings)
    finish(cell, error=None, seconds=1.0)
