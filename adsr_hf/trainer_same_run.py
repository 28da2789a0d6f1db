"""A Trainer that knows which run it is: what a run must have in common with the one that it continues."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers.utils import logging

from adsr_hf.settings.method import MethodArguments
from adsr_hf.settings.resumption import ResumptionArguments
from adsr_hf.settings.selection import DIRECTION, FIGURE
from adsr_hf.trainer_saving import SavingTrainer
from adsr_hf.training.same_run import BATCHES, CHANGES, LENGTH, SCHEDULE_STEPS, check_same_run, in_words, saved_run

logger = logging.get_logger(__name__)

# Settings that change what is measured, not what is trained, may differ when a run is continued.
_FREE_SETTINGS = {"eval_attack_steps", "eval_attack_restarts", "evaluate_weights"}
_FREE_SETTINGS |= {field.name for field in fields(ResumptionArguments)}


class SameRunTrainer(SavingTrainer):
    """Trainer that continues a run under the settings it began with, or says what differs.

    Attributes:
        data_settings: what a continued run must have in common with its checkpoint about its images, as JSON values;
            set it before training. Left empty, images are not compared.
        changes_on_resuming: what the run was continued with that its beginning had not, each with ``setting``,
            ``was``, ``now``, ``step`` and ``resumed_schedules``.
    """

    def _prepare_same_run(self) -> None:
        """Set up what tells runs apart; called once when the trainer is built."""
        self.data_settings: dict[str, Any] = {}
        self.changes_on_resuming: list[dict[str, Any]] = []

    @property
    def schedule_steps(self) -> int:
        """Length in optimizer steps of the schedules that depend on the length of the run."""
        return self.held_schedule_steps or max(self.state.max_steps, 1)

    def schedules_by_length(self) -> list[str]:
        """What depends on the length of the run, beside Trainer's own learning rate; subclasses have more."""
        return ["learning_rate_drops"] if self.args.learning_rate_drops else []

    def steps_to_hold(self, checkpoint: Path | None) -> int | None:
        """The length that schedules keep though the run has another; None = they have the run's."""
        if checkpoint is None or self.args.resumed_schedules == "stretch":
            return None
        saved = saved_run(checkpoint)
        planned: int | None = saved.get(SCHEDULE_STEPS)
        return planned if self.args.resumed_schedules == "hold" or planned != saved.get("total_steps") else None

    def changes_since(self, checkpoint: Path) -> list[dict[str, Any]]:
        """What differs on purpose from the run that saved the checkpoint, and from the runs before it.

        Raises:
            CheckpointError: when something else differs.
        """
        may_differ = set(BATCHES) if self.args.resume_with_other_batches else set()
        if self.args.resumed_schedules is not None or not self.schedules_by_length():
            may_differ |= LENGTH
        differing = check_same_run(checkpoint, self.run_settings(), may_differ=may_differ)
        if differing:
            logger.warning(f"{checkpoint} is continued with other settings: {in_words(differing)}")
        now = {"step": self.state.global_step, "resumed_schedules": self.args.resumed_schedules}
        earlier: list[dict[str, Any]] = saved_run(checkpoint).get(CHANGES, [])
        return earlier + [one | now for one in differing]

    def run_record(self) -> dict[str, Any]:
        """See SavingTrainer: what the run must be continued with, and what it was continued with before."""
        return self.run_settings() | {SCHEDULE_STEPS: self.schedule_steps, CHANGES: self.changes_on_resuming}

    def run_settings(self) -> dict[str, Any]:
        """What a continued run must have in common with its checkpoint, as JSON values."""
        settings = {
            field.name: getattr(self.args, field.name)
            for field in fields(MethodArguments)
            if field.name not in _FREE_SETTINGS
        }
        settings |= self.fine_tuning_settings() | self.data_settings
        if self.args.load_best_model_at_end:
            # The best value so far is kept without its name, and would be compared with another figure's.
            settings |= {name: getattr(self.args, name) for name in (FIGURE, DIRECTION)}
        return settings | {
            "label_smoothing_factor": self.args.label_smoothing_factor,
            # One figure, since any number of processes may continue a run.
            "total_train_batch_size": self.get_total_train_batch_size(self.args),
            "data_seed": self.args.data_seed,
            "train_sampling_strategy": self.args.train_sampling_strategy,
            "dataloader_drop_last": self.args.dataloader_drop_last,
            "seed": self.args.seed,
            "total_steps": self.state.max_steps,
        }
