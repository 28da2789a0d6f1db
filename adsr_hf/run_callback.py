"""When a run begins and when a step begins, was taken, and ends: Trainer tells callbacks alone."""

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from adsr_hf.trainer_resumption import ResumableTrainer


class RunCallback(TrainerCallback):
    """Passes on to its trainer what Trainer tells."""

    def __init__(self, trainer: "ResumableTrainer") -> None:
        self.trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.trainer.begin_run()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.trainer.epoch_ended = False
        self.trainer.meters.start_clock()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.trainer.after_optimizer_step()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.trainer.meters.stop_clock()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.trainer.epoch_ended = True
