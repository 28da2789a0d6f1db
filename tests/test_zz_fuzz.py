"""Ctrl-C and kill -9: real signals, in this process and in others."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.checkpoints import CheckpointError, checkpoint_folders, verify_checkpoint
from adsr_hf.interrupt import InterruptRequest, TrainingInterrupted
from tests.snapshots import as_json, assert_identical, digest_of, snapshot, without_timings
from tests.tiny import tiny_trainer, tiny_vit

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _a_terminal_is_listening() -> Any:
    """Tests may run as a background job, where SIGINT is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# ---- the request ----------------------------------------------------------------------------------------------------


def test_the_first_signal_is_a_request_and_the_second_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with InterruptRequest() as request:
        assert not request.requested
        signal.raise_signal(signal.SIGINT)
        assert request.requested
        assert "press Ctrl-C again to stop at once" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        request.requested = False
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_is_restored_after_success_and_after_an_error() -> None:
    def mine(*_: Any) -> None: ...

    signal.signal(signal.SIGINT, mine)
    with InterruptRequest():
        assert signal.getsignal(signal.SIGINT) is not mine
    assert signal.getsignal(signal.SIGINT) is mine
    with pytest.raises(ZeroDivisionError), InterruptRequest():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is mine


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with InterruptRequest() as request:
        signal.raise_signal(signal.SIGINT)
        assert not request.requested
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_request_that_nobody_honoured_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt, match="training had just finished"), InterruptRequest():
        signal.raise_signal(signal.SIGINT)


def test_a_request_does_not_hide_an_error() -> None:
    def train() -> None:
        with InterruptRequest():
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()


def test_threads_other_than_the_main_one_are_left_alone() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with InterruptRequest() as request:
                assert not request.requested
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---- training in this process ---------------------------------------------------------------------------------------

# 4 steps an epoch.
CONFIG: dict[str, Any] = {
    "max_steps": 10,
    "logging_steps": 3,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "learning_rate": 3e-3,
}


class PressCtrlC(TrainerCallback):
    """Sends SIGINT to this process at an event of a step."""

    def __init__(self, event: str, step: int) -> None:
        setattr(self, f"on_{event}", self._press)
        self.step = step

    def _press(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trainer = tiny_trainer(tmp_path_factory.mktemp("whole"), **CONFIG)
    trainer.train()
    return snapshot(trainer)


@pytest.mark.parametrize(
    ("event", "step", "stops_at"),
    [
        ("step_begin", 0, 1),
        ("step_begin", 5, 6),
        ("log", 6, 7),
        # The end of an epoch is evaluated before the run stops: a continued run would never come back to it.
        ("step_begin", 7, 8),
        ("evaluate", 4, 5),
        ("step_begin", 9, 10),
    ],
)
def test_an_interrupted_run_is_saved_and_continues_bit_by_bit(
    tmp_path: Path, whole: dict[str, Any], event: str, step: int, stops_at: int
) -> None:
    trainer = tiny_trainer(tmp_path, callbacks=[PressCtrlC(event, step)], **CONFIG)
    with pytest.raises(TrainingInterrupted) as stopped:
        trainer.train()
    checkpoint = tmp_path / f"checkpoint-{stops_at}"
    assert stopped.value.checkpoint == str(checkpoint)
    assert f"Continue with resume_from_checkpoint={checkpoint}" in str(stopped.value)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert trainer.state.global_step == stops_at
    verify_checkpoint(checkpoint)
    continued = tiny_trainer(tmp_path, model=tiny_vit(seed=99), **CONFIG)
    continued.train(resume_from_checkpoint=True)
    assert_identical(snapshot(continued), whole)


def test_the_second_signal_stops_at_once_and_saves_nothing(tmp_path: Path) -> None:
    presses = [PressCtrlC("step_begin", 1), PressCtrlC("step_end", 2)]
    # Callbacks of one class share a name; Trainer keeps both.
    trainer = tiny_trainer(tmp_path, callbacks=presses, **CONFIG)
    with pytest.raises(KeyboardInterrupt) as stopped:
        trainer.train()
    assert not isinstance(stopped.value, TrainingInterrupted)
    assert checkpoint_folders(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not trainer.is_in_train


def test_a_signal_after_the_last_step_still_stops_the_program(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, callbacks=[PressCtrlC("train_end", 3)])
    with pytest.raises(KeyboardInterrupt, match="training had just finished"):
        trainer.train()


@pytest.mark.parametrize(
    ("config", "resumable"),
    [
        # An evaluation that is no improvement would cancel the save.
        ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "never"}, True),
        ({"save_strategy": "no", "eval_strategy": "no"}, True),
        ({"save_only_model": True}, False),
        ({"save_strategy": "steps", "save_steps": 3, "save_total_limit": 1}, True),
    ],
)
def test_there_is_a_checkpoint_whatever_the_strategy(tmp_path: Path, config: dict[str, Any], resumable: bool) -> None:
    def trainer(callbacks: list[Any]) -> ADSRTrainer:
        return tiny_trainer(
            tmp_path, callbacks=callbacks, compute_metrics=lambda _: {"never": 0.0}, **(CONFIG | config)
        )

    with pytest.raises(TrainingInterrupted) as stopped:
        trainer([PressCtrlC("step_begin", 2)]).train()
    assert stopped.value.checkpoint == str(tmp_path / "checkpoint-3")
    assert stopped.value.resumable == resumable
    assert ("cannot be continued" in str(stopped.value)) != resumable
    verify_checkpoint(tmp_path / "checkpoint-3")
    if not resumable:
        with pytest.raises(CheckpointError, match="save_only_model=True"):
            trainer([]).train(resume_from_checkpoint=True)


# ---- training in another process ------------------------------------------------------------------------------------


def _start(task: dict[str, Any]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training_worker", json.dumps([task])],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the worker ended with {process.returncode}: {process.communicate()[0]}")
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the worker did not get there in {seconds} s: {process.communicate()[0]}")
        time.sleep(0.005)


def test_ctrl_c_on_another_process(tmp_path: Path) -> None:
    # Long enough that the signal cannot come too late.
    config = CONFIG | {"max_steps": 100, "eval_strategy": "no", "save_strategy": "no", "logging_steps": 20}
    task = {"output_dir": str(tmp_path / "run"), "result": str(tmp_path / "result"), "config": config}
    process = _start(task)
    progress = tmp_path / "result" / "step"
    _wait_for(lambda: progress.is_file() and progress.read_text() not in ("", "1", "2"), process)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    (checkpoint,) = checkpoint_folders(tmp_path / "run")
    verify_checkpoint(checkpoint)
    assert int(checkpoint.name.removeprefix("checkpoint-")) == int(progress.read_text()) < 100
    assert "Stopping after this step" in output
    assert f"saved {checkpoint}. Continue with resume_from_checkpoint={checkpoint}" in output
    assert not (tmp_path / "result" / "rank_0.json").exists()

    continued = tiny_trainer(tmp_path / "run", model=tiny_vit(seed=99), **config)
    continued.train(resume_from_checkpoint=True)
    whole = tiny_trainer(tmp_path / "whole", **config)
    whole.train()
    assert_identical(snapshot(continued), snapshot(whole))


@pytest.mark.slow
def test_kill_9_while_saving_leaves_whole_checkpoints(tmp_path: Path) -> None:
    """Killed at random moments of a run that does little but save, with a single checkpoint kept."""
    randomness = random.Random(4)
    run, result = tmp_path / "run", tmp_path / "result"
    config = CONFIG | {
        "max_steps": 200,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 1,
        "logging_steps": 50,
        "attack_steps": 1,
    }
    task: dict[str, Any] = {"output_dir": str(run), "result": str(result), "config": config}
    cut_saves = kills = 0
    while cut_saves < 2 and kills < 10:
        _kill_after_some_steps(task | {"resume": kills > 0}, randomness.uniform(0.1, 0.2))
        kills += 1
        finished = _finished(run)
        cut_saves += len(finished) < len(checkpoint_folders(run))
        assert finished
        for folder in finished:
            verify_checkpoint(folder)
    assert cut_saves > 0
    process = _start(task | {"resume": True})
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    whole = tiny_trainer(tmp_path / "whole", **(config | {"save_strategy": "no"}))
    whole.train()
    found = json.loads((result / "rank_0.json").read_text())
    assert as_json(found["log"]) == as_json(without_timings(whole.state.log_history))
    assert found["student"] == digest_of(dict(whole.model.state_dict()))


def _kill_after_some_steps(task: dict[str, Any], seconds: float) -> None:
    progress = Path(task["result"]) / "step"
    before = progress.read_text() if progress.exists() else ""
    process = _start(task)
    run = Path(task["output_dir"])
    _wait_for(lambda: progress.exists() and progress.read_text() != before and bool(_finished(run)), process)
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=30)


def _finished(run: Path) -> list[Path]:
    return [folder for folder in checkpoint_folders(run) if (folder / "manifest.json").is_file()]
