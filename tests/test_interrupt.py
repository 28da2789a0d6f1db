"""Ctrl-C: real signals to this process."""

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.checkpoints import CheckpointError, checkpoint_folders, verify_checkpoint
from adsr_hf.interrupt import InterruptRequest, TrainingInterrupted
from tests.snapshots import assert_identical, snapshot
from tests.tiny import tiny_trainer, tiny_vit


@pytest.fixture(autouse=True)
def _a_terminal_is_listening() -> Any:
    """Tests may run as a background job, where SIGINT is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# ---- the request ----------------------------------------------------------------------------------------------------


def test_the_first_signal_is_a_request_and_the_second_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    requests: list[InterruptRequest] = []

    def train() -> None:
        with InterruptRequest() as request:
            requests.append(request)
            assert not request.requested
            signal.raise_signal(signal.SIGINT)
            assert request.requested
            assert "press Ctrl-C again to stop at once" in capsys.readouterr().out
            signal.raise_signal(signal.SIGINT)
            requests.clear()

    with pytest.raises(KeyboardInterrupt):
        train()
    assert requests
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
