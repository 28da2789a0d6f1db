"""A Trainer whose checkpoints are whole, on disk, or do not count; and which ends with the best weights or says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerState
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from adsr_hf.config import ADSRConfig
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.adapted import raw_state
from adsr_hf.networks.weights import (
    STUDENT_FILE,
    TEACHER_FILE,
    check_finite,
    load_raw_weights,
    load_tensors,
    load_weights,
    save_tensors,
)
from adsr_hf.records.checkpoint_folders import checkpoint_folders, steps_of
from adsr_hf.records.disk_errors import write_errors_name
from adsr_hf.trainer_optimization import FineTuningTrainer
from adsr_hf.training import checkpoints
from adsr_hf.training.run_folder import STATE_FILE, RunFolder, why_not_continued

logger = logging.get_logger(__name__)

_KEPT = "Checkpoints that were finished are untouched"


class SavingTrainer(FineTuningTrainer):
    """Trainer whose checkpoints hold the teacher and what each process alone knows, and are sealed when complete.

    Every file is on disk before the manifest is, and older checkpoints go only then: whenever a run is cut off, by a
    kill, a full disk or a power cut, the newest checkpoint with a manifest is whole.
    """

    args: ADSRConfig
    teacher: EMATeacher | None
    _saved_checkpoint: Path | None

    def run_record(self) -> dict[str, Any]:
        """What a checkpoint says about its run, as JSON values."""
        raise NotImplementedError

    def process_state(self) -> dict[str, Tensor]:
        """What is in no other file of a checkpoint, and this process alone knows."""
        raise NotImplementedError

    def published_model(self) -> nn.Module:
        """The weights that are saved and pushed: the student, or the teacher with ``publish='teacher'``."""
        if self.args.publish == "teacher" and self.teacher is not None:
            return self.teacher.model
        return self.model

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        check_finite(self.model, self.state.global_step)
        run_dir = Path(self._get_output_dir(trial=trial))
        checkpoint = run_dir / f"checkpoint-{self.state.global_step}"
        with write_errors_name(checkpoint, kept=_KEPT):
            if self.args.should_save:
                checkpoints.begin_checkpoint(checkpoint, self.run_record())
            self.accelerator.wait_for_everyone()
            with self._postponed(save_total_limit=None, push_to_hub=False):
                super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                # Older checkpoints go, and the new one is pushed, only once it is sealed.
                torch.save(self.args, checkpoint / TRAINING_ARGS_NAME)
                checkpoints.seal_checkpoint(checkpoint)
        if self.args.should_save:
            keep = {checkpoint.name, Path(self.state.best_model_checkpoint or checkpoint).name}
            checkpoints.rotate_checkpoints(run_dir, self.args.save_total_limit, keep)
        # The others may want to load it, or end the run, as soon as they go on.
        self.accelerator.wait_for_everyone()
        self._saved_checkpoint = checkpoint
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(checkpoint))

    @contextmanager
    def _postponed(self, **settings: Any) -> Iterator[None]:
        """Set fields of the arguments for a while."""
        kept = {name: getattr(self.args, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(self.args, name, value)
            yield
        finally:
            for name, value in kept.items():
                setattr(self.args, name, value)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        check_finite(self.model, self.state.global_step)
        if state_dict is None and self.args.publish == "teacher" and self.teacher is not None:
            own = self.model.state_dict()
            state_dict = {name: value.to(own[name].dtype) for name, value in self.teacher.model.state_dict().items()}
        with write_errors_name(Path(output_dir or str(self.args.output_dir)), kept=_KEPT):
            super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save and self.teacher is not None:
            save_tensors(Path(output_dir) / TEACHER_FILE, self.teacher.state_dict())
            if self.args.publish == "teacher":
                save_tensors(Path(output_dir) / STUDENT_FILE, raw_state(self.model))

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        save_tensors(self._process_file(output_dir), self.process_state())

    def _process_file(self, folder: str | Path) -> Path:
        return Path(folder) / checkpoints.PROCESS_FILE.format(index=self.args.process_index)

    def _load_student(self, checkpoint: Path) -> None:
        raw = checkpoint / STUDENT_FILE
        if raw.is_file():
            load_raw_weights(self.model, raw)
        else:
            load_weights(self.model, checkpoint)

    # ---- the end -------------------------------------------------------------------------------------------------

    def _finalize_training(self, trial: Any, *args: Any, **kwargs: Any) -> TrainOutput:
        if self.args.load_best_model_at_end:
            self._warn_of_an_unsaved_best()
        # With a limit of one Trainer deletes all but the best, even where that one is damaged.
        with self._postponed(save_total_limit=None):
            output = super()._finalize_training(trial, *args, **kwargs)
        if self.args.should_save and self.args.save_total_limit == 1 and self.state.best_model_checkpoint is not None:
            self._remove_all_but(Path(self.state.best_model_checkpoint))
        return output

    def _warn_of_an_unsaved_best(self) -> None:
        best, loaded = self.state.best_global_step, self.state.best_model_checkpoint
        if loaded is not None and Path(loaded).name == f"checkpoint-{best}":
            return
        what = f"{loaded} is loaded instead" if loaded is not None else "the last weights are kept"
        why = f"the best evaluation was at step {best}, where nothing was saved" if best else "nothing was evaluated"
        logger.warning(f"load_best_model_at_end=True, but {why}: {what}. Evaluate and save at the same steps")

    def _remove_all_but(self, best: Path) -> None:
        try:
            checkpoints.verify_checkpoint(best)
        except checkpoints.CheckpointError as error:
            logger.warning(f"{error}; it is the best one, so that the others are kept beside it")
            return
        for folder in checkpoint_folders(best.parent):
            if folder.name != best.name:
                checkpoints.remove_checkpoint(folder)

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint)
        logger.info(f"Loading best model from {best} (score: {self.state.best_metric}).")
        self._refuse_damaged_best(best)
        self._load_student(best)
        if self.teacher is not None:
            self.teacher.load_state_dict(load_tensors(best / TEACHER_FILE))

    def find_best_checkpoint(self, checkpoint: Path) -> None:
        """Look for the best checkpoint of a run beside the one that it is continued from.

        Trainer remembers it by its path, which is another one once a run's folder was moved.

        Raises:
            CheckpointError: when it is damaged or gone, and would be loaded in the end.
        """
        saved = TrainerState.load_from_json(str(checkpoint / STATE_FILE)).best_model_checkpoint
        name = Path(saved).name if isinstance(saved, str) else ""
        best = checkpoint.parent / name if steps_of(name) is not None else None
        self.state.best_model_checkpoint = str(best) if best is not None and best.is_dir() else None
        if self.args.load_best_model_at_end and best is not None:
            self._refuse_damaged_best(best)

    def _refuse_damaged_best(self, best: Path) -> None:
        try:
            checkpoints.verify_checkpoint(best)
        except checkpoints.CheckpointError as error:
            newest, earlier = RunFolder.read(best.parent).newest, _newest_before(best)
            again = f"; or train it again from {earlier.name}: resume_from_checkpoint={earlier}" if earlier else ""
            last = f"resume_from_checkpoint={newest} and " if newest else ""
            raise checkpoints.CheckpointError(
                f"load_best_model_at_end=True, but the best checkpoint ({self.args.metric_for_best_model} "
                f"{self.state.best_metric}) cannot be loaded: {error}. Nothing was published. To end with the last "
                f"weights, give {last}load_best_model_at_end=False{again}"
            ) from error


def _newest_before(checkpoint: Path) -> Path | None:
    """The newest whole checkpoint with fewer steps."""
    step = steps_of(checkpoint.name) or 0
    for folder in reversed(checkpoint_folders(checkpoint.parent)):
        if (steps_of(folder.name) or 0) < step and why_not_continued(folder) is None:
            return folder
    return None
