"""What a run prints: which figure chooses, a line for each log, which weights were published, and what comes next."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForImageClassification

from adsr_hf.runs.log import RunProgress, evaluation_words, training_words
from adsr_hf.runs.recipe import load_recipe
from adsr_hf.runs.train import Run, train_recipe
from tests.study.files import RECIPE
from tests.tiny import tiny_trainer

CHOOSING = {"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 2, "max_steps": 6}


def trained(folder: Path, **settings: Any) -> tuple[Run, list[RunProgress]]:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | settings | {"output_dir": str(folder / "run")}))
    recipe = load_recipe(folder / "recipe.yaml", [])
    told: list[RunProgress] = []
    return train_recipe(recipe.config, recipe.data, recipe.model, report=told.append), told


def test_a_chosen_step_is_named_with_the_figure_that_chose_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"method": "adsr", "publish": "teacher", "evaluate_weights": "both"}
    run, _ = trained(tmp_path / "a", **CHOOSING, **settings)
    printed = capsys.readouterr().out
    facts = json.loads((tmp_path / "a" / "run" / "run.json").read_text())["published"]
    assert facts["weights"] == "teacher"
    assert facts["steps"] == 6
    assert facts["chosen_by"]["figure"] == "teacher_robust_accuracy"
    # Found another way: the first of the highest.
    evaluations = [one for one in run.trainer.state.log_history if "eval_accuracy" in one]
    values = [one["eval_teacher_robust_accuracy"] for one in evaluations]
    assert facts["chosen_by"]["value"] == max(values)
    assert facts["step"] == evaluations[values.index(max(values))]["step"]
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "a" / "run").state_dict()
    assert run.trainer.teacher is not None
    for name, value in run.trainer.teacher.model.state_dict().items():
        assert torch.equal(saved[name], value)
    first = "published: the teacher's weights (moving average) of the step with the highest teacher_robust_accuracy on"
    assert first in printed
    last = f"of step {facts['step']} of 6: highest teacher_robust_accuracy, {100 * max(values):.1f}%, of 3 evaluations"
    assert f"published: the teacher's weights (moving average) {last}" in printed
    accuracy = run.record["test"]["test_teacher_accuracy"]
    assert re.search(rf"teacher \(published\) +{100 * accuracy:.1f}%", printed)
    assert f"next: adsr evaluate {tmp_path / 'a' / 'run'}\n" in printed
    assert "import adsr_hf" not in printed


def test_without_a_choice_the_last_step_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"hidden_sizes": [4, 4, 4, 4], "depths": [1, 1, 1, 1]}
    run, _ = trained(tmp_path / "a", model_type="adsr_cifar_resnet", model_config=small)
    printed = capsys.readouterr().out
    assert run.record["published"] == {"weights": "student", "step": 2, "steps": 2, "chosen_by": None}
    assert "published: the student's weights after the last step, since load_best_model_at_end is off\n" in printed
    assert "published: the student's weights after the last step, 2\n" in printed
    assert "to load: `import adsr_hf.networks` first, since adsr_cifar_resnet is no architecture of" in printed


def test_a_run_that_learned_nothing_is_not_praised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = trained(tmp_path / "a", learning_rate=1e-9)
    printed = capsys.readouterr().out
    assert run.data.test is not None
    labels = run.data.test.labels.tolist()
    share = f"{100 * max(labels.count(one) for one in set(labels)) / len(labels):.1f}%"
    assert re.search(rf"\n  always '.+' +{share}\n", printed)
    assert f"warning: without attack and under attack the accuracy is not shown to be above {share}" in printed


def test_figures_of_other_weights_are_not_passed_off_as_the_published_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / "a", publish="teacher", evaluate_weights="student")
    printed = capsys.readouterr().out
    assert "(published)" not in printed
    assert "not of the published weights, since evaluate_weights='student'" in printed


def test_each_log_is_one_line_and_the_time_left_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, told = trained(tmp_path / "a", **CHOOSING, disable_tqdm=True)
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("step ")]
    assert len(lines) == 6 + 3
    assert all(re.fullmatch(r"step \d/6  .*; about \d+ (s|min) left", line) for line in lines)
    assert "{'" not in printed
    assert max(map(len, lines)) < 130
    assert re.fullmatch(
        r"step 2/6  validation: student .*% accurate, .*% under attack, ECE .*%, the best so far; .*", lines[2]
    )
    assert [one.step for one in told] == [1, 2, 2, 3, 4, 4, 5, 6, 6]
    assert {one.steps for one in told} == {6}
    assert told[0].evaluation is None
    assert told[-1].evaluation is not None
    assert told[-1].evaluation in lines[-1]


def test_a_script_of_ones_own_prints_as_trainer_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_trainer(tmp_path, max_steps=1).train()
    assert capsys.readouterr().out.startswith("{'loss': ")


def test_words_leave_out_what_was_not_measured() -> None:
    assert training_words({"loss": 1.5}) == "loss 1.5"
    assert training_words({"loss": 1.5, "zero_gradient_share": 0.005}) == "loss 1.5"
    assert training_words({"loss": 1.5, "zero_gradient_share": 0.25}) == "loss 1.5, zero gradients 25.0%"
    assert evaluation_words({"eval_accuracy": 0.5, "eval_ece": 0.1, "eval_loss": 2.0}, "loss") == (
        "student 50.0% accurate, ECE 10.0%; loss 2"
    )
