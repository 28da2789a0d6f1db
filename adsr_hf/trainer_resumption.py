"""A Trainer whose runs can be continued exactly: teacher and attack generators are in whole checkpoints."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import TrainOutput, rotate_checkpoints
from transformers.utils import logging

from adsr_hf import checkpoints
from adsr_hf.config import ADSRConfig
from adsr_hf.interrupt import InterruptRequest, TrainingInterrupted
from adsr_hf.meters import TrainingMeters
from adsr_hf.method_arguments import MethodArguments
from adsr_hf.teacher import EMATeacher

logger = logging.get_logger(__name__)

# Settings that change what is measured, not what is trained, may differ when a run is continued.
_FREE_SETTINGS = {"eval_attack_steps", "eval_attack_restarts", "evaluate_weights"}


class ResumableTrainer(Trainer):
    """Trainer with a teacher, whose checkpoints are whole or refused and restore a run bit by bit.

    It corrects what Trainer leaves open: weights reload under the names they were saved with, a folder counts as a
    checkpoint once its manifest is written, NaN weights are never saved, Ctrl-C ends in a checkpoint, and a run does
    not start in a folder that holds another.
    """

    args: ADSRConfig

    def _prepare_run(self) -> None:
        """Set up what a run needs beside Trainer's own state; called once when the trainer is built."""
        self.teacher: EMATeacher | None = None
        self.meters = TrainingMeters()
        self.attack_generator = torch.Generator(self.args.device).manual_seed(self.args.seed + self.args.process_index)
        self._interrupt = InterruptRequest()
        self._resume_checkpoint: Path | None = None
        self._owns_output_dir = False
        self._refuse_unsupported_parallelism()
        self.add_callback(_RunCallback(self))

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train, or continue a run; see ``transformers.Trainer.train``.

        Args:
            resume_from_checkpoint: a checkpoint's path, or True for the newest whole one in ``output_dir``.

        Raises:
            CheckpointError: when the checkpoint is damaged or belongs to a run with other settings.
            FileExistsError: when ``output_dir`` holds another run and ``resume_from_checkpoint`` is not given.
            FloatingPointError: when the loss or the weights become NaN or infinite.
            TrainingInterrupted: after Ctrl-C, once the step is finished and saved.
        """
        self._resume_checkpoint = self._find_checkpoint(resume_from_checkpoint)
        if self._resume_checkpoint is None and not self._owns_output_dir:
            self._refuse_foreign_output_dir()
        self._owns_output_dir = True
        resume = str(self._resume_checkpoint) if self._resume_checkpoint else None
        try:
            with InterruptRequest() as self._interrupt:
                return super().train(resume, trial, ignore_keys_for_eval)
        finally:
            self.is_in_train = False

    def begin_run(self) -> None:
        """Build the teacher from the student as it now is, or restore both from the checkpoint."""
        self.meters = TrainingMeters()
        self.teacher = EMATeacher(self.model, self.args.teacher_decay) if self.args.keeps_teacher else None
        if self._resume_checkpoint is not None:
            checkpoints.check_same_run(self._resume_checkpoint, self.run_settings())
            if self.teacher is not None:
                state = checkpoints.load_tensors(self._resume_checkpoint / checkpoints.TEACHER_FILE)
                self.teacher.load_state_dict(state)

    def after_optimizer_step(self) -> None:
        """Let the teacher follow, unless mixed precision skipped the step."""
        if self.teacher is not None and not self.accelerator.optimizer_step_was_skipped:
            self.teacher.update(self.model)

    def run_settings(self) -> dict[str, Any]:
        """What a continued run must have in common with its checkpoint, as JSON values."""
        settings = {
            field.name: getattr(self.args, field.name)
            for field in fields(MethodArguments)
            if field.name not in _FREE_SETTINGS
        }
        return settings | {"seed": self.args.seed, "total_steps": self.state.max_steps}

    def published_model(self) -> nn.Module:
        """The weights that are saved and pushed: the student, or the teacher with ``publish='teacher'``."""
        if self.args.publish == "teacher" and self.teacher is not None:
            return self.teacher.model
        return self.model

    def _refuse_unsupported_parallelism(self) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled or self.is_distributed_loading_by_transformers:
            raise ValueError(
                "sharded training (DeepSpeed, FSDP) is not supported yet: attacks would run on partial weights. "
                "Launch plain data parallelism with `accelerate launch`"
            )
        if self.args.n_gpu > 1:
            raise ValueError(
                f"{self.args.n_gpu} GPUs in one process would use DataParallel, which the attack cannot see through; "
                "start one process for each GPU with `accelerate launch`, or set CUDA_VISIBLE_DEVICES to one of them"
            )

    # ---- where a run begins --------------------------------------------------------------------------------------

    def _find_checkpoint(self, requested: str | bool | None) -> Path | None:
        if requested is None or requested is False:
            return None
        if requested is not True:
            checkpoints.verify_checkpoint(Path(requested))
            return Path(requested)
        for folder in reversed(checkpoints.checkpoint_folders(Path(self.args.output_dir))):
            if (folder / checkpoints.MANIFEST_FILE).is_file():
                checkpoints.verify_checkpoint(folder)
                return folder
            logger.warning(f"{folder} was not finished and is passed over")
        raise checkpoints.CheckpointError(
            f"resume_from_checkpoint=True, but output_dir={self.args.output_dir} holds no finished checkpoint; "
            "leave it out to start a new run"
        )

    def _refuse_foreign_output_dir(self) -> None:
        found = checkpoints.checkpoint_folders(Path(self.args.output_dir))
        if found:
            raise FileExistsError(
                f"output_dir={self.args.output_dir} holds another run ({found[-1].name}); continue it with "
                "resume_from_checkpoint=True, or choose another output_dir"
            )

    # ---- saving --------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        checkpoints.check_finite(self.model, self.state.global_step)
        run_dir = Path(self._get_output_dir(trial=trial))
        checkpoint = run_dir / f"checkpoint-{self.state.global_step}"
        (checkpoint / checkpoints.MANIFEST_FILE).unlink(missing_ok=True)
        # Older checkpoints go only once the new one is sealed.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoints.write_json(checkpoint / checkpoints.RUN_FILE, self.run_settings())
            checkpoints.write_manifest(checkpoint)
            rotate_checkpoints(
                output_dir=str(run_dir),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if state_dict is None and self.args.publish == "teacher" and self.teacher is not None:
            own = self.model.state_dict()
            state_dict = {name: value.to(own[name].dtype) for name, value in self.teacher.model.state_dict().items()}
        super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save and self.teacher is not None:
            checkpoints.save_tensors(Path(output_dir) / checkpoints.TEACHER_FILE, self.teacher.state_dict())
            if self.args.publish == "teacher":
                checkpoints.save_tensors(Path(output_dir) / checkpoints.STUDENT_FILE, self.model.state_dict())

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        checkpoints.save_tensors(self._generator_file(output_dir), {"state": self.attack_generator.get_state()})

    # ---- loading -------------------------------------------------------------------------------------------------

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self._load_student(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint)
        logger.info(f"Loading best model from {best} (score: {self.state.best_metric}).")
        checkpoints.verify_checkpoint(best)
        self._load_student(best)
        if self.teacher is not None:
            self.teacher.load_state_dict(checkpoints.load_tensors(best / checkpoints.TEACHER_FILE))

    def _load_student(self, checkpoint: Path) -> None:
        raw = checkpoint / checkpoints.STUDENT_FILE
        if raw.is_file():
            self.model.load_state_dict(checkpoints.load_tensors(raw), strict=True)
        else:
            checkpoints.load_weights(self.model, checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint is None:
            return
        path = self._generator_file(checkpoint)
        if path.is_file():
            self.attack_generator.set_state(checkpoints.load_tensors(path)["state"])
        else:
            logger.warning(
                f"{path} does not exist: the run had fewer processes, so random starts will differ from now on"
            )

    def _generator_file(self, folder: str) -> Path:
        return Path(folder) / f"attack_generator_{self.args.process_index}.safetensors"

    # ---- Ctrl-C --------------------------------------------------------------------------------------------------

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        stopping = self._anyone_interrupted()
        if stopping:
            self.control.should_save = True
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if stopping:
            self._finish_current_push()
            raise TrainingInterrupted(str(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"))

    def _anyone_interrupted(self) -> bool:
        if self.args.world_size <= 1:
            return self._interrupt.requested
        # A signal reaches the processes at different steps; all must stop at the same one.
        flag = torch.tensor(float(self._interrupt.requested), device=self.args.device)
        return bool(self.accelerator.reduce(flag, "sum").item() > 0)


class _RunCallback(TrainerCallback):
    """Tells the trainer when a run begins and when a step begins, was taken, and ends."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.begin_run()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.meters.start_clock()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.after_optimizer_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.meters.stop_clock()
