"""Real cells, in this process: trained, measured, kept, continued, failed."""

import json
from pathlib import Path
from typing import Any

import pytest

from adsr_hf.decision.arms import read_arm
from adsr_hf.evaluation.checkpoint import evaluate_checkpoint
from adsr_hf.runs.recipe import recipe_from_settings
from adsr_hf.runs.train import train_recipe
from adsr_hf.study import work
from adsr_hf.study.cells import Cell, begin, end_of, finish, is_finished, read_state, why_refused
from adsr_hf.study.description import read_study
from adsr_hf.study.live import PROGRESS_FILE
from tests.study.files import fake_study, write_study


def run(cell: Cell) -> bool:
    begin(cell)
    return work.run_cell(cell.folder, threads=None)


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """One arm with a teacher, one that fails; one image fewer is measured than is there."""
    arms = {"ADSR": {"method": "adsr"}, "broken": {"dataset": "nowhere"}}
    evaluation = {"attack_steps": 2, "weights": "both", "max_eval_images": 12}
    path = write_study(tmp_path_factory.mktemp("study"), arms=arms, baseline=None, evaluation=evaluation, seeds=[3])
    cells = list(read_study(path).cells)
    assert [run(cell) for cell in cells] == [True, False]
    return cells


def test_a_cell_is_an_ordinary_run_with_its_records(cells: list[Cell]) -> None:
    cell = cells[0]
    assert is_finished(cell)
    record = json.loads((cell.folder / "run.json").read_text())
    assert (record["config"]["seed"], record["config"]["output_dir"]) == (3, str(cell.folder))
    for weights, network in (("published", "student"), ("teacher", "teacher")):
        summary = json.loads((cell.evaluation_folder(weights) / "summary.json").read_text())
        assert summary["model"]["weights"] == network == cell.network(weights)
        assert summary["model"]["published"] == (weights == "published")
        assert summary["data"]["images"] == 12
        assert summary["threats"] == ["Linf 0.1"]
        assert summary["attacks"][0]["num_steps"] == 2
    assert read_arm([str(cell.folder)]).members[0].checkpoint == cell.folder


def test_a_cell_trains_what_the_recipe_alone_trains(cells: list[Cell], tmp_path: Path) -> None:
    recipe = recipe_from_settings(
        dict(cells[0].settings) | {"output_dir": str(tmp_path / "run"), "disable_tqdm": True}
    )
    train_recipe(recipe.config, recipe.data, recipe.model)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        cells[0].folder / "model.safetensors"
    ).read_bytes()


def test_a_failure_is_kept_and_can_be_tried_again(cells: list[Cell]) -> None:
    cell = cells[1]
    outcome = end_of(cell)
    assert outcome is not None
    assert not is_finished(cell)
    assert (outcome.error or "").startswith("ValueError: dataset='nowhere' is neither an existing path")
    assert why_refused(cell) is None


def test_a_cell_whose_records_changed_is_not_finished(cells: list[Cell]) -> None:
    summary = cells[0].evaluation_folder("published") / "summary.json"
    content = summary.read_bytes()
    for other in (content + b" ", None):
        summary.unlink() if other is None else summary.write_bytes(other)
        assert end_of(cells[0]) is None
        assert not is_finished(cells[0])
    summary.write_bytes(content)
    assert is_finished(cells[0])


def test_other_settings_are_refused_with_both_values(cells: list[Cell], tmp_path: Path) -> None:
    changed = {"arms": {"ADSR": {"method": "adsr", "learning_rate": 0.02}}, "baseline": None, "seeds": [3]}
    evaluation = {"attack_steps": 4, "weights": "both", "max_eval_images": 12}
    study = read_study(write_study(tmp_path, evaluation=evaluation, **changed), output_dir=cells[0].folder.parents[1])
    reason = why_refused(study.cells[0]) or ""
    assert "learning_rate was 0.01 and is now 0.02" in reason
    assert "evaluation.attack_steps was 2 and is now 4" in reason
    assert "max_steps" not in reason


def test_a_cell_that_could_not_be_measured_is_measured_as_the_corrected_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(settings: dict[str, Any] | None = None, **evaluation: Any) -> Cell:
        path = write_study(tmp_path, arms={"AT": {}}, seeds=[0], settings=settings, evaluation=evaluation)
        return read_study(path).cells[0]

    assert not run(described(attack_steps=2, sanity=True, undefended=str(tmp_path / "nowhere")))
    cell = described(attack_steps=3, batch_size=64)
    assert why_refused(cell) is None
    assert "learning_rate was 0.01" in (why_refused(described({"learning_rate": 0.02}, attack_steps=3)) or "")
    trained = (cell.folder / "model.safetensors").stat().st_mtime_ns
    batches = []

    def measured(*positional: Any, **named: Any) -> Any:
        batches.append(positional[2].batch_size)
        return evaluate_checkpoint(*positional, **named)

    monkeypatch.setattr(work, "evaluate_checkpoint", measured)
    assert run(cell)
    assert batches == [64]
    assert (cell.folder / "model.safetensors").stat().st_mtime_ns == trained
    summary = json.loads((cell.folder / "evaluation" / "summary.json").read_text())
    assert summary["attacks"][0]["num_steps"] == 3
    # Now there are results, which must be of the settings that stand in the file.
    assert "evaluation.attack_steps was 3 and is now 4" in (why_refused(described(attack_steps=4)) or "")
    assert why_refused(described(attack_steps=3, batch_size=128)) is None
    assert why_refused(described(attack_steps=3)) is None


def test_a_folder_of_somebody_else_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    cell = read_study(write_study(tmp_path)).cells[0]
    cell.folder.mkdir(parents=True)
    assert why_refused(cell) is None
    (cell.folder / "letter.txt").write_text("keep")
    assert "holds what no study made (letter.txt)" in (why_refused(cell) or "")


class _Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def _interrupted(cell: Cell, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Run the cell until it calls the function of that name."""

    def die(*_: Any, **__: Any) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(work, where, die)
        with pytest.raises(_Killed):
            run(cell)
    assert end_of(cell) is None


def test_a_trained_cell_is_only_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = read_study(write_study(tmp_path, seeds=[0])).cells[0]
    _interrupted(cell, monkeypatch, "evaluate_checkpoint")
    assert read_state(cell.folder)["trained"]
    before = contents(cell.folder)
    assert run(cell)
    after = contents(cell.folder)
    told = ("cell.json", "log.txt", PROGRESS_FILE)
    assert {path: after[path] for path in before if path.name not in told} == {
        path: content for path, content in before.items() if path.name not in told
    }
    outcome = end_of(cell)
    assert outcome is not None
    assert outcome.continued


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_training_goes_on_from_a_checkpoint_or_starts_anew(
    has_checkpoint: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"save_strategy": "steps", "save_steps": 1}
    cell = read_study(write_study(tmp_path, settings=settings, arms={"AT": {}}, seeds=[0])).cells[0]
    _interrupted(cell, monkeypatch, "mark_trained")
    whole = (cell.folder / "model.safetensors").read_bytes()
    checkpoints = sorted(path.name for path in cell.folder.glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-1", "checkpoint-2"]
    # As a kill between the two would have left it.
    (cell.folder / "checkpoint-2" / "manifest.json").unlink()
    if not has_checkpoint:
        (cell.folder / "checkpoint-1" / "manifest.json").unlink()
    capsys.readouterr()
    _interrupted(cell, monkeypatch, "evaluate_checkpoint")
    assert ("training starts anew" in capsys.readouterr().out) is not has_checkpoint
    assert (cell.folder / "model.safetensors").read_bytes() == whole
    history = json.loads((cell.folder / "run.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2]


def test_a_cell_whose_best_checkpoint_is_damaged_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole checkpoint is there, but nobody can tell a cell to do without the best one."""
    settings = {
        "save_strategy": "steps",
        "save_steps": 1,
        "eval_steps": 1,
        "load_best_model_at_end": True,
        # The first, since training lowers the loss.
        "metric_for_best_model": "loss",
        "greater_is_better": True,
    }
    cell = read_study(write_study(tmp_path, settings=settings, arms={"AT": {}}, seeds=[0])).cells[0]
    _interrupted(cell, monkeypatch, "mark_trained")
    whole = (cell.folder / "model.safetensors").read_bytes()
    state = json.loads((cell.folder / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["best_global_step"] == 1
    (cell.folder / "checkpoint-1" / "model.safetensors").write_bytes(b"cut")
    _interrupted(cell, monkeypatch, "evaluate_checkpoint")
    assert "checkpoint-1 is damaged" in capsys.readouterr().out
    assert (cell.folder / "model.safetensors").read_bytes() == whole


def test_a_failure_names_no_records(tmp_path: Path) -> None:
    cell = read_study(write_study(tmp_path)).cells[0]
    begin(cell)
    finish(cell, error="its process was killed", seconds=1.0)
    outcome = end_of(cell)
    assert outcome is not None
    assert (outcome.error, dict(outcome.summaries)) == ("its process was killed", {})
    assert Cell.read(cell.folder) == cell


@pytest.mark.parametrize("key", ["identity", "trained", "attempts", "outcome"])
def test_a_cell_file_that_lacks_something_is_named(tmp_path: Path, key: str) -> None:
    cell = fake_study(tmp_path, {"AT": {}}).cells[0]
    path = cell.folder / "cell.json"
    state = json.loads(path.read_text())
    for content in ({one: state[one] for one in state if one != key}, state | {key: "luck"}):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"cell\.json is damaged: {key} .*; remove .* to run that cell again"):
            is_finished(cell)
