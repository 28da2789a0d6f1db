"""When a run begins and when a step begins, was taken, and ends: Trainer tells callbacks alone."""

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState

from adsr_hf.training.run import TrainingRun


class RunCallback(TrainerCallback):
    """Passes on what Trainer tells.

    Attributes:
        epoch_ended: whether the last step taken ended an epoch.

    Args:
        run: whose teacher follows after each optimizer step, and whose clock runs while steps are taken.
        begin_run: called when training begins.
    """

    def __init__(self, run: TrainingRun, *, begin_run: Callable[[], None]) -> None:
        self._run, self._begin_run = run, begin_run
        self.epoch_ended = False

    def may_stop(self, state: TrainerState, control: TrainerControl) -> bool:
        """Whether a run that stops now can be continued as if it had not: not before the end of an epoch is over.

        The evaluation there is not made up for when a run is continued behind it.
        """
        epoch_ends = float(state.epoch or 0).is_integer() or control.should_training_stop
        return self.epoch_ended or not epoch_ends

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._begin_run()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.epoch_ended = False
        self._run.method_step.meters.start_clock()

    def on_optimizer_step(self, _: Any, state: TrainerState, __: Any, *, model: nn.Module, **___: Any) -> None:
        self._run.after_optimizer_step(model, state)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._run.method_step.meters.stop_clock()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.epoch_ended = True
