"""A Trainer whose runs can be continued exactly: teacher and attack generators are in whole checkpoints."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from adsr_hf.config import ADSRConfig
from adsr_hf.method.schedules import warmed_up_decay
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.weights import TEACHER_FILE, load_tensors
from adsr_hf.records.folder_lock import own_folder
from adsr_hf.run_callback import RunCallback
from adsr_hf.trainer_same_run import SameRunTrainer
from adsr_hf.training import checkpoints
from adsr_hf.training.interrupt import InterruptRequest, TrainingInterrupted, shield_worker
from adsr_hf.training.meters import TrainingMeters
from adsr_hf.training.processes import (
    any_process,
    forget_evaluation,
    refuse_unsupported_parallelism,
    share_batch_statistics,
)
from adsr_hf.training.run_folder import find_checkpoint, refuse_used_folder, remove_unfinished

logger = logging.get_logger(__name__)


class ResumableTrainer(SameRunTrainer):
    """Trainer with a teacher, whose checkpoints are whole or refused and restore a run bit by bit.

    It corrects what Trainer leaves open: weights reload under the names they were saved with, a folder counts as a
    checkpoint once its manifest is written, NaN weights are never saved, Ctrl-C ends in a checkpoint, and a run does
    not start in a folder that holds another.
    """

    args: ADSRConfig
    control: TrainerControl

    def _prepare_run(self) -> None:
        """Set up what a run needs beside Trainer's own state; called once when the trainer is built."""
        self._prepare_same_run()
        self.teacher: EMATeacher | None = None
        self.is_set_up = False
        self.meters = TrainingMeters()
        self.attack_generator = torch.Generator(self.args.device).manual_seed(self.args.seed + self.args.process_index)
        self._interrupt = InterruptRequest()
        self._resume_checkpoint: Path | None = None
        self._saved_checkpoint: Path | None = None
        self.epoch_ended = False
        self._owns_output_dir = False
        refuse_unsupported_parallelism(self)
        self.add_callback(RunCallback(self))

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train, or continue a run; see ``transformers.Trainer.train``.

        Args:
            resume_from_checkpoint: a checkpoint's path, or True for the newest whole one in ``output_dir``; newer ones
                that are damaged or unfinished are passed over with a warning.

        Raises:
            CheckpointError: when there is no whole checkpoint, the named one is damaged, or it belongs to a run
                with other settings.
            FileExistsError: when ``output_dir`` holds another run than the one that is continued.
            FolderInUseError: when another process trains in ``output_dir``.
            WriteError: when a checkpoint cannot be written, as on a full disk.
            FloatingPointError: when the loss or the weights become NaN or infinite.
            TrainingInterrupted: after Ctrl-C, SIGTERM, SIGHUP or SIGUSR1, once the step is finished and saved.
        """
        output_dir = Path(self.args.output_dir)
        # Each trial of a search has a folder of its own.
        with own_folder(Path(self._get_output_dir(trial=trial)), "training", PartialState()):
            self._resume_checkpoint = find_checkpoint(output_dir, resume_from_checkpoint)
            self.held_schedule_steps = self.steps_to_hold(self._resume_checkpoint)
            self._take_over(output_dir)
            forget_evaluation(self)
            resume = str(self._resume_checkpoint) if self._resume_checkpoint else None
            try:
                with InterruptRequest() as self._interrupt:
                    return super().train(resume, trial, ignore_keys_for_eval)
            finally:
                self.is_in_train = False

    def _take_over(self, output_dir: Path) -> None:
        """Make sure that no other run's checkpoints are overwritten, and that none are left which are unfinished."""
        resume = self._resume_checkpoint
        continues_here = resume is not None and resume.resolve().parent == output_dir.resolve()
        if not continues_here and not self._owns_output_dir:
            refuse_used_folder(output_dir)
            if self.args.should_save:
                remove_unfinished(output_dir)
        self._owns_output_dir = True

    def begin_run(self) -> None:
        """Set up the method, and restore what the checkpoint holds beside the student."""
        self._saved_checkpoint = None
        self.set_up_method()
        self.changes_on_resuming = []
        if self._resume_checkpoint is not None:
            self.changes_on_resuming = self.changes_since(self._resume_checkpoint)
            self.find_best_checkpoint(self._resume_checkpoint)
            if self.teacher is not None:
                state = load_tensors(self._resume_checkpoint / TEACHER_FILE)
                self.teacher.load_state_dict(state)
            self._restore_process(self._resume_checkpoint)

    def set_up_method(self) -> None:
        """Build what a training step needs, from the student as it now is: for a run, or for a step before it."""
        self.meters = TrainingMeters()
        # Both again, since a search for hyperparameters or a second run may have changed the method and the seed.
        self.args.check_method()
        self.args.settle_figure()
        self.attack_generator.manual_seed(self.args.seed + self.args.process_index)
        self.teacher = EMATeacher(self.model, self.args.teacher_decay) if self.args.keeps_teacher else None
        self.is_set_up = True

    def after_optimizer_step(self) -> None:
        """Let the teacher follow, unless mixed precision skipped the step."""
        share_batch_statistics(self.model)
        if self.teacher is not None and not self.accelerator.optimizer_step_was_skipped:
            decay = self.args.teacher_decay
            warm = warmed_up_decay(decay, step=self.state.global_step) if self.args.teacher_decay_warmup else decay
            self.teacher.update(self.model, decay=warm)

    def _run_epoch(self, model: nn.Module, epoch: int, train_dataloader: DataLoader, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            # A finished run, continued: Trainer would take one step more where max_steps ends inside an epoch.
            self.control.should_training_stop = True
            return
        # accelerate forwards the epoch neither in the epoch that is continued nor with several processes, since the
        # batch sampler is wrapped there (DataLoaderShard.set_epoch in accelerate 1.15).
        dataset: Any = getattr(train_dataloader, "dataset", None)
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
        super()._run_epoch(model=model, epoch=epoch, train_dataloader=train_dataloader, **kwargs)

    # ---- what each process alone knows ---------------------------------------------------------------------------

    def process_state(self) -> dict[str, Tensor]:
        """What is in no other file: this process's random starts, and what it has gathered since the last log line."""
        own = {
            "attack_generator": self.attack_generator.get_state(),
            "loss": self._tr_loss,
            "last_logged_step": torch.tensor(self._globalstep_last_logged),
        }
        return own | self.meters.state_dict()

    # ---- images ----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader:
        return _shielded(super().get_train_dataloader())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        return _shielded(super().get_eval_dataloader(eval_dataset))

    # ---- loading -------------------------------------------------------------------------------------------------

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self._load_student(Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _checkpoint_errors(checkpoint, "optimizer.pt or scheduler.pt"):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _checkpoint_errors(checkpoint, "rng_state"):
            super()._load_rng_state(checkpoint)

    def _restore_process(self, checkpoint: Path) -> None:
        before, now = checkpoints.number_of_processes(checkpoint), self.args.world_size
        if before != now:
            logger.warning(
                f"{checkpoint} was saved by {before} process(es) and is continued by {now}: random starts and the "
                "next log line will differ from those of an uninterrupted run"
            )
            first = checkpoint / checkpoints.PROCESS_FILE.format(index=0)
            self.load_common_state(load_tensors(first))
            return
        state = load_tensors(self._process_file(checkpoint))
        self.load_common_state(state)
        self.load_process_state(state)

    def load_common_state(self, state: dict[str, Tensor]) -> None:
        """Restore what is the same in every process, whatever their number; subclasses have such state."""

    def load_process_state(self, state: dict[str, Tensor]) -> None:
        """Restore what this process alone knew when it gave :meth:`process_state`."""
        self.attack_generator.set_state(state["attack_generator"])
        self._globalstep_last_logged = int(state["last_logged_step"])
        self._tr_loss += state["loss"].to(self._tr_loss.device)
        # The loss that Trainer returns is the mean over the steps of this call alone.
        self._total_loss_scalar -= self.accelerator.reduce(self._tr_loss.clone(), "mean").item()
        self.meters.load_state_dict(state)

    # ---- being stopped -------------------------------------------------------------------------------------------

    def _maybe_log_save_evaluate(
        self, tr_loss: Tensor, grad_norm: Any, model: nn.Module, trial: Any, *args: Any, **kwargs: Any
    ) -> None:
        # A signal reaches the processes at different steps; all must stop at the same one.
        stopping = any_process(self.accelerator, self._interrupt.requested)
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *args, **kwargs)
        # The evaluation at the end of an epoch is not made up for when a run is continued behind it.
        epoch_ends = float(self.state.epoch or 0).is_integer() or self.control.should_training_stop
        if not stopping or (epoch_ends and not self.epoch_ended):
            return
        if self._saved_checkpoint is None or self._saved_checkpoint.name != f"checkpoint-{self.state.global_step}":
            self._save_checkpoint(model, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
        self._finish_current_push()
        raise TrainingInterrupted(
            str(self._saved_checkpoint),
            resumable=not self.args.save_only_model,
            # It may have reached another process alone.
            signum=self._interrupt.signum or signal.SIGTERM,
        )


@contextmanager
def _checkpoint_errors(checkpoint: str | None, what: str) -> Iterator[None]:
    """Say of which checkpoint Trainer could not read a file: one made by hand, or by another network or optimizer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError) as error:
        if checkpoint is None:
            raise
        # torch would advise to load it without its safeguards.
        why = "it holds more than numbers" if isinstance(error, UnpicklingError) else str(error).splitlines()[0]
        raise checkpoints.CheckpointError(
            f"checkpoint {checkpoint} cannot be continued: {what} does not fit this run: {why}. Start a new run from "
            "its weights with from_pretrained, in another output_dir"
        ) from error


def _shielded(loader: DataLoader) -> DataLoader:
    """The loader, whose processes outlive a signal that asks the run to save and stop."""
    # accelerate wraps loaders without being one.
    inner = getattr(loader, "base_dataloader", loader)
    if getattr(inner, "num_workers", 0) > 0 and getattr(inner.worker_init_fn, "func", None) is not shield_worker:
        inner.worker_init_fn = partial(shield_worker, inner.worker_init_fn)
    return loader
