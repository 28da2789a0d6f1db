"""What a run's folder holds: which checkpoint is continued, and the one way on in every state."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.training.checkpoints import begin_checkpoint, seal_checkpoint
from adsr_hf.training.run_folder import find_checkpoint, refuse_used_folder, remove_unfinished

STATE: dict[str, Any] = {"global_step": 3, "max_steps": 9, "log_history": [], "best_global_step": None}


def finished(folder: Path, *, without: str = "", state: Any = STATE) -> Path:
    begin_checkpoint(folder, {"method": "adsr"})
    for name in {"optimizer.pt", "scheduler.pt", "model.safetensors"} - {without}:
        (folder / name).write_text(name)
    if without != "trainer_state.json":
        (folder / "trainer_state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    seal_checkpoint(folder)
    return folder


def unfinished(folder: Path) -> Path:
    (finished(folder) / "manifest.json").unlink()
    return folder


def damaged(folder: Path) -> Path:
    (finished(folder) / "optimizer.pt").write_text("other")
    return folder


def of_another_program(folder: Path) -> Path:
    folder.mkdir()
    (folder / "trainer_state.json").write_text("{}")
    return folder


def weights_alone(folder: Path) -> Path:
    return finished(folder, without="optimizer.pt")


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


# ---- which one is continued -----------------------------------------------------------------------------------------


def test_true_finds_the_newest_whole_one_and_says_what_it_passes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (9, 10):
        finished(tmp_path / f"checkpoint-{step}")
    damaged(tmp_path / "checkpoint-11")
    unfinished(tmp_path / "checkpoint-12")
    empty(tmp_path / "checkpoint-13")
    with caplog.at_level("WARNING", logger="adsr_hf.training.run_folder"):
        assert find_checkpoint(tmp_path, True) == tmp_path / "checkpoint-10"
    assert "checkpoint-11 is damaged: optimizer.pt has 5 bytes instead of 12; it is passed over" in caplog.text
    assert "checkpoint-12 was not finished and is passed over" in caplog.text
    assert "checkpoint-13 was not finished and is passed over" in caplog.text
    assert f"continues from {tmp_path / 'checkpoint-10'}, the newest whole checkpoint" in caplog.text
    assert find_checkpoint(tmp_path, str(tmp_path / "checkpoint-9")) == tmp_path / "checkpoint-9"
    assert find_checkpoint(tmp_path, None) is None
    assert find_checkpoint(tmp_path, False) is None


def test_nothing_is_said_where_nothing_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged(tmp_path / "checkpoint-9")
    finished(tmp_path / "checkpoint-10")
    assert find_checkpoint(tmp_path, True) == tmp_path / "checkpoint-10"
    assert not caplog.text


def test_the_newest_is_the_one_with_most_steps_whatever_the_clock_said(tmp_path: Path) -> None:
    for age, step in enumerate((10, 9, 8)):
        folder = finished(tmp_path / f"checkpoint-{step}")
        for path in (*folder.iterdir(), folder):
            os.utime(path, (1e9 + age * 1e6, 1e9 + age * 1e6))
    assert find_checkpoint(tmp_path, True) == tmp_path / "checkpoint-10"


@pytest.mark.parametrize("broken", [damaged, unfinished, of_another_program, weights_alone, empty])
def test_a_broken_one_that_is_named_is_refused_with_the_name_of_a_whole_one(
    tmp_path: Path, broken: Callable[[Path], Path]
) -> None:
    named = broken(tmp_path / "checkpoint-10")
    with pytest.raises(CheckpointError, match=r"checkpoint-10 (is damaged|has no).*there is no whole one beside it"):
        find_checkpoint(tmp_path, named)
    whole = finished(tmp_path / "checkpoint-4")
    with pytest.raises(CheckpointError, match=f"continue with resume_from_checkpoint={whole}$"):
        find_checkpoint(tmp_path, named)
    with pytest.raises(CheckpointError, match=f"checkpoint-7 does not exist.*resume_from_checkpoint={whole}$"):
        find_checkpoint(tmp_path, tmp_path / "checkpoint-7")


@pytest.mark.parametrize("name", ["trainer_state.json", "optimizer.pt", "scheduler.pt", "model.safetensors"])
def test_a_checkpoint_without_state_or_weights_cannot_be_continued(tmp_path: Path, name: str) -> None:
    folder = finished(tmp_path / "checkpoint-2", without=name)
    for requested in (True, folder):
        with pytest.raises(CheckpointError, match=f"checkpoint-2 has no {name}"):
            find_checkpoint(tmp_path, requested)


@pytest.mark.parametrize(
    "state",
    [
        "[]",
        "{",
        "null",
        '{"unknown": 1}',
        STATE | {"global_step": "3"},
        STATE | {"best_global_step": "../../elsewhere"},
        STATE | {"max_steps": None},
        STATE | {"log_history": 3},
    ],
)
def test_a_state_that_no_run_writes_is_refused(tmp_path: Path, state: Any) -> None:
    folder = finished(tmp_path / "checkpoint-3", state=state)
    for requested in (True, folder):
        with pytest.raises(CheckpointError, match=r"is damaged: trainer_state\.json is not what a run writes"):
            find_checkpoint(tmp_path, requested)


# ---- one way on -----------------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Path], Path]] = {
    "finished": finished,
    "unfinished": unfinished,
    "damaged": damaged,
    "foreign": of_another_program,
    "weights": weights_alone,
    "empty": empty,
}


@settings(max_examples=60, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=4), results=st.booleans())
def test_every_state_has_one_way_on_and_both_messages_name_it(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], results: bool
) -> None:
    run = tmp_path_factory.mktemp("run")
    for step, kind in enumerate(kinds, start=1):
        KINDS[kind](run / f"checkpoint-{step}")
    if results:
        (run / "run.json").write_text("{}")
    start, resume = _refusal(run, None), _refusal(run, True)
    if "finished" in kinds:
        assert resume is None
        assert start is not None
        assert "continue it from" in start
        assert "resume_from_checkpoint=True" in start
    elif set(kinds) & {"damaged", "foreign", "weights"} or results:
        assert start is not None
        assert resume is not None
        for message in (start, resume):
            assert message.lower().endswith("choose another output_dir")
            assert "leave resume_from_checkpoint out" not in message
    else:
        assert start is None
        assert resume is not None
        assert "leave resume_from_checkpoint out" in resume
        remove_unfinished(run)
        assert checkpoint_folders(run) == []


def _refusal(run: Path, requested: bool | None) -> str | None:
    try:
        if requested is None:
            refuse_used_folder(run, results=("run.json",))
        else:
            find_checkpoint(run, requested, results=("run.json",))
    except (CheckpointError, FileExistsError) as error:
        return str(error)
    return None


def test_what_others_wrote_is_not_removed(tmp_path: Path) -> None:
    of_another_program(tmp_path / "checkpoint-1")
    unfinished(tmp_path / "checkpoint-2")
    damaged(tmp_path / "checkpoint-3")
    remove_unfinished(tmp_path)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-1", "checkpoint-3"]
