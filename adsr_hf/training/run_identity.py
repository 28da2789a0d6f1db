"""Which run this is: what a run must have in common with the one that it continues, and what may differ on purpose."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn
from transformers.utils import logging

from adsr_hf.config import ADSRConfig
from adsr_hf.fine_tuning.parts import parts
from adsr_hf.networks.adapted import frozen_fingerprint, is_adapted
from adsr_hf.settings.method import MethodArguments
from adsr_hf.settings.resumption import ResumptionArguments
from adsr_hf.settings.selection import DIRECTION, FIGURE
from adsr_hf.training.same_run import BATCHES, CHANGES, LENGTH, SCHEDULE_STEPS, check_same_run, in_words, saved_run

logger = logging.get_logger(__name__)

# Settings that change what is measured, not what is trained, may differ when a run is continued.
_FREE_SETTINGS = {"eval_attack_steps", "eval_attack_restarts", "evaluate_weights"}
_FREE_SETTINGS |= {field.name for field in fields(ResumptionArguments)}


class RunIdentity:
    """Tells runs apart by their settings.

    Attributes:
        changes: what the run was continued with that its beginning had not, each with ``setting``, ``was``, ``now``,
            ``step`` and ``resumed_schedules``.
        held_schedule_steps: length in optimizer steps that schedules keep though the run has another; None = its own.
    """

    def __init__(self, args: ADSRConfig) -> None:
        self._args = args
        self._frozen_weights: str | None = None
        self.changes: list[dict[str, Any]] = []
        self.held_schedule_steps: int | None = None

    def schedule_steps(self, max_steps: int) -> int:
        """Length in optimizer steps of the schedules that depend on the length of the run, at least 1."""
        return self.held_schedule_steps or max(max_steps, 1)

    def hold_schedules(self, checkpoint: Path | None) -> None:
        """Keep the length that the checkpoint's schedules have, as ``resumed_schedules`` says."""
        self.held_schedule_steps = None
        if checkpoint is None or self._args.resumed_schedules == "stretch":
            return
        saved = saved_run(checkpoint)
        planned: int | None = saved.get(SCHEDULE_STEPS)
        if self._args.resumed_schedules == "hold" or planned != saved.get("total_steps"):
            self.held_schedule_steps = planned

    def fine_tuning(self, model: nn.Module) -> dict[str, Any]:
        """What a continued run must have in common with its checkpoint about what is trained."""
        layer_decay = {"layer_decay": self._args.layer_decay}
        if not is_adapted(model):
            frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
            return layer_decay | {"frozen": parts(frozen)}
        if self._frozen_weights is None:
            self._frozen_weights = frozen_fingerprint(model)
        return layer_decay | {"frozen_weights": self._frozen_weights}

    def settings(
        self, model: nn.Module, data: Mapping[str, Any], *, total_batch_size: int, max_steps: int
    ) -> dict[str, Any]:
        """What a continued run must have in common with its checkpoint, as JSON values.

        Args:
            model: the bare model.
            data: the same about the images; empty = images are not compared.
            total_batch_size: one figure, since any number of processes may continue a run.
        """
        args = self._args
        names = [field.name for field in fields(MethodArguments) if field.name not in _FREE_SETTINGS]
        if args.load_best_model_at_end:
            # The best value so far is kept without its name, and would be compared with another figure's.
            names += [FIGURE, DIRECTION]
        names += ["label_smoothing_factor", "data_seed", "train_sampling_strategy", "dataloader_drop_last", "seed"]
        settings = {name: getattr(args, name) for name in names} | self.fine_tuning(model) | dict(data)
        return settings | {"total_train_batch_size": total_batch_size, "total_steps": max_steps}

    def compare(self, checkpoint: Path, settings: Mapping[str, Any], *, by_length: Sequence[str], step: int) -> None:
        """Note what differs on purpose from the run that saved the checkpoint, and from the runs before it.

        Args:
            settings: of this run, see :meth:`settings`.
            by_length: what depends on the length of the run.
            step: at which it is continued.

        Raises:
            CheckpointError: when something else differs.
        """
        may_differ = set(BATCHES) if self._args.resume_with_other_batches else set()
        if self._args.resumed_schedules is not None or not by_length:
            may_differ |= LENGTH
        differing = check_same_run(checkpoint, settings, may_differ=may_differ)
        if differing:
            logger.warning(f"{checkpoint} is continued with other settings: {in_words(differing)}")
        now = {"step": step, "resumed_schedules": self._args.resumed_schedules}
        earlier: list[dict[str, Any]] = saved_run(checkpoint).get(CHANGES, [])
        self.changes = earlier + [difference | now for difference in differing]

    def record(self, settings: Mapping[str, Any], max_steps: int) -> dict[str, Any]:
        """What a checkpoint says about its run: what it must be continued with, and was continued with before."""
        return {**settings, SCHEDULE_STEPS: self.schedule_steps(max_steps), CHANGES: self.changes}
