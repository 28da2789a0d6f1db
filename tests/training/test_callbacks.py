"""What Trainer tells callbacks reaches the run's parts."""

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from adsr_hf.training.callbacks import RunCallback
from adsr_hf.training.meters import TrainingMeters


class Run:
    """As much of a TrainingRun as a callback asks for."""

    def __init__(self) -> None:
        self.method_step = SimpleNamespace(meters=TrainingMeters())
        self.followed: list[tuple[Any, int]] = []

    def after_optimizer_step(self, model: Any, state: TrainerState) -> None:
        self.followed.append((model, state.global_step))


def test_the_teacher_follows_the_model_of_the_step() -> None:
    run: Any = Run()
    callback = RunCallback(run, begin_run=lambda: None)
    callback.on_optimizer_step(None, TrainerState(global_step=3), None, model="student")
    assert run.followed == [("student", 3)]


def test_the_clock_runs_while_steps_are_taken() -> None:
    run: Any = Run()
    callback = RunCallback(run, begin_run=lambda: None)
    seconds = run.method_step.meters.state_dict
    callback.on_step_begin()
    callback.on_step_end()
    after_one = float(seconds()["seconds"])
    callback.on_epoch_end()
    assert float(seconds()["seconds"]) == after_one > 0


@pytest.mark.parametrize(
    ("epoch", "stops", "ended", "may_stop"),
    [(0.5, False, False, True), (1.0, False, False, False), (1.0, False, True, True), (0.5, True, False, False)],
)
def test_a_run_does_not_stop_between_an_epochs_last_step_and_its_end(
    epoch: float, stops: bool, ended: bool, may_stop: bool
) -> None:
    run: Any = Run()
    callback = RunCallback(run, begin_run=lambda: None)
    if ended:
        callback.on_epoch_end()
    control = TrainerControl(should_training_stop=stops)
    assert callback.may_stop(TrainerState(epoch=epoch), control) is may_stop
    callback.on_step_begin()
    assert callback.epoch_ended is False
