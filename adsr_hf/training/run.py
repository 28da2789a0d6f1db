"""The parts of a run, put together: from its first step, or from a checkpoint, to what each step leaves behind."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from transformers import TrainerState
from transformers.utils import logging

from adsr_hf.config import ADSRConfig
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.training.batch import StepShare, unpack
from adsr_hf.training.best_checkpoint import find_best_checkpoint, refuse_damaged_best
from adsr_hf.training.checkpointer import Checkpointer, Part
from adsr_hf.training.evaluator import RobustEvaluator, WatchedLoader, networks_to_measure
from adsr_hf.training.method_step import MethodStep
from adsr_hf.training.position import RunPosition
from adsr_hf.training.processes import share_batch_statistics
from adsr_hf.training.run_identity import RunIdentity
from adsr_hf.training.step_loss import StepLoss, UpstreamLoss, refuse_infinite

logger = logging.get_logger(__name__)


class TrainingRun:
    """What one run is made of.

    Attributes:
        method_step: walks a batch through the method.
        step_share: how much of an optimizer step a batch is.
        identity: which run it is.
        checkpointer: writes and reads its checkpoints.
        data_settings: what a continued run must have in common with its checkpoint about its images, as JSON values.

    Args:
        args: the run's settings.
        pixel_space: how inputs are normalised.
        num_classes: K.
        accelerator: computes in the run's precision, over all processes.
        log: writes figures of a single step into the run's log.
        trainer_class: name of the class that trains.
        parts: what else must survive a restart.
    """

    def __init__(
        self,
        args: ADSRConfig,
        *,
        pixel_space: PixelSpace,
        num_classes: int,
        accelerator: Accelerator,
        log: Callable[[dict[str, float]], None],
        trainer_class: str,
        parts: Sequence[Part],
    ) -> None:
        self._args, self._accelerator, self._num_classes = args, accelerator, num_classes
        self._pixel_space = pixel_space
        self._trainer_class = trainer_class
        self.method_step = MethodStep(
            args, pixel_space=pixel_space, num_classes=num_classes, accelerator=accelerator, log=log
        )
        self.step_share, self.identity = StepShare(), RunIdentity(args)
        self._step_loss = StepLoss(args, num_classes=num_classes, accelerator=accelerator)
        attack = self.method_step.attack
        own_parts = [
            Part("collapse guard", attack.guard, shared=True),
            Part("mean predictions of classes", self.method_step.class_means, shared=True),
            Part("random starts", attack),
            Part("figures since the last log line", self.method_step.meters),
        ]
        if args.labels_follow == "teacher":
            own_parts.append(Part("teacher's reliability", self.method_step.teacher.reliability, shared=True))
        self.checkpointer = Checkpointer(args, accelerator=accelerator, parts=[*own_parts, *parts])
        self.data_settings: dict[str, Any] = {}

    @property
    def teacher(self) -> EMATeacher | None:
        """The moving average of the student; None where the method keeps none, or nothing has begun."""
        return self.method_step.teacher.average

    @property
    def average(self) -> nn.Module | None:
        """The network that the moving average is; None as :attr:`teacher`."""
        return None if self.teacher is None else self.teacher.model

    def published(self, model: nn.Module) -> nn.Module:
        """The weights that are saved and pushed: the bare student, or the teacher with ``publish='teacher'``."""
        return model if self.published_teacher is None else self.published_teacher

    @property
    def published_teacher(self) -> nn.Module | None:
        """The same where it is what is saved and pushed."""
        return self.average if self._args.publish == "teacher" else None

    def load_best(self, model: nn.Module, state: TrainerState) -> None:
        """Give student and teacher the weights of the best checkpoint.

        Raises:
            CheckpointError: where it is damaged.
        """
        best = Path(str(state.best_model_checkpoint))
        logger.info(f"Loading best model from {best} (score: {state.best_metric}).")
        refuse_damaged_best(best, state, self._args)
        self.checkpointer.load_student(best, model)
        self.checkpointer.load_teacher(best, self.teacher)

    def position(self, state: TrainerState, loader: Any) -> RunPosition:
        """Where the run stands, over a loader of micro-batches."""
        return RunPosition.find(
            state.global_step,
            loader=loader,
            gradient_accumulation_steps=self._args.gradient_accumulation_steps,
            schedule_steps=self.identity.schedule_steps(state.max_steps),
        )

    def set_up(self, model: nn.Module) -> None:
        """Build what a training step needs from the bare model as it now is: for a run, or for a step before it."""
        self.method_step.begin(model)
        self._step_loss.begin()

    def begin(
        self, model: nn.Module, state: TrainerState, loader: Any, *, resume: Path | None, total_batch_size: int
    ) -> None:
        """Set up, restore what a checkpoint holds beside the student, and refuse settings that do not fit the run.

        Args:
            model: the bare model.
            state: Trainer's, of the run.
            loader: of its micro-batches.
            resume: the checkpoint to continue from.
            total_batch_size: images of an optimizer step over all processes.

        Raises:
            CheckpointError: when the checkpoint belongs to another run.
            ValueError: when schedules are longer than the run.
        """
        self.checkpointer.last, self.identity.changes = None, []
        self.set_up(model)
        position = self.position(state, loader)
        self.method_step.class_means.check(position)
        if resume is not None:
            settings = self._settings(model, state, total_batch_size)
            by_length = self.method_step.schedules_by_length(position)
            self.identity.compare(resume, settings, by_length=by_length, step=state.global_step)
            find_best_checkpoint(resume, state, self._args)
            self.checkpointer.load_teacher(resume, self.teacher)
            self.checkpointer.load_parts(resume)
        epochs = state.max_steps / position.steps_per_epoch
        self._args.check_lengths(epochs=epochs, run=f"max_steps={state.max_steps}, {epochs:.3g} epochs")

    def record(self, model: nn.Module, state: TrainerState, total_batch_size: int) -> dict[str, Any]:
        """What a checkpoint says about the run."""
        return self.identity.record(self._settings(model, state, total_batch_size), state.max_steps)

    def _settings(self, model: nn.Module, state: TrainerState, total_batch_size: int) -> dict[str, Any]:
        return self.identity.settings(
            model, self.data_settings, total_batch_size=total_batch_size, max_steps=state.max_steps
        )

    def loss(
        self,
        model: nn.Module,
        bare_model: nn.Module,
        inputs: Mapping[str, Any],
        state: TrainerState,
        loader: Any,
        *,
        upstream: UpstreamLoss,
        smooths: bool,
        takes_count: bool,
        counted: Tensor | int | None,
        micro_batches: int,
    ) -> tuple[Tensor, Any]:
        """The method's loss of a batch in training mode; Trainer's own in eval mode, and where the method has none.

        Args:
            model: as Trainer wrapped it.
            bare_model: the same, not wrapped.
            inputs: ``pixel_values``, ``labels``, and what else the model takes.
            state, loader: Trainer's; see :meth:`position`.
            upstream: Trainer's own ``compute_loss``.
            smooths: whether Trainer's label smoother makes that loss.
            takes_count: whether Trainer takes the model for one that can be given the number of images.
            counted: images of the whole optimizer step, where Trainer counted them.
            micro_batches: of the step.

        Returns:
            the loss and the model's output.

        Raises:
            ValueError: when labels are missing or out of range, pixels do not match the processor, or the model adds
                a loss of its own that the method would drop.
            FloatingPointError: when the loss is NaN or infinite.
        """

        def share(images: int) -> Tensor | float:
            processes = self._args.world_size
            return self.step_share.of(images, counted, processes=processes, micro_batches=micro_batches)

        def upstream_loss() -> tuple[Tensor, Any]:
            return self._step_loss.upstream(
                model,
                dict(inputs),
                bare_model=bare_model,
                compute=upstream,
                counted=counted,
                smooths=smooths,
                takes_count=takes_count,
                share=share,
            )

        if not model.training:
            return upstream_loss()
        batch = unpack(inputs, self._num_classes)
        if not self.method_step.has_begun:
            self.set_up(bare_model)
        pixels = self.method_step.pixels(batch)
        position = self.position(state, loader)
        if self._args.replaces_loss:
            self._step_loss.refuse_extra(bare_model, inputs, takes_count=takes_count)
            objective, weight = self._step_loss.objective(), share(len(batch.labels))
            return self.method_step.loss(model, bare_model, batch, pixels, objective, position, share=weight)
        loss, outputs = upstream_loss()
        refuse_infinite(loss, step=position.step, output_dir=self._args.output_dir)
        self.method_step.meters.add({}, images=len(batch.labels))
        return loss, outputs

    def watched(
        self,
        loader: Any,
        model: nn.Module,
        *,
        prepare: Callable[[Any], Mapping[str, Any]],
        published_alone: bool = False,
    ) -> tuple[Any, RobustEvaluator]:
        """A loader that shows every batch to an evaluator before it is handed on, and that evaluator.

        Args:
            model: the bare student.
            prepare: moves a batch to the device.
            published_alone: measure what is published, instead of what ``evaluate_weights`` names.
        """
        networks = networks_to_measure(self._args, model, self.average)
        if published_alone:
            networks = {"": self.published(model)}
        evaluator = RobustEvaluator.of_run(
            self._args,
            networks,
            pixel_space=self._pixel_space,
            num_classes=self._num_classes,
            accelerator=self._accelerator,
        )
        return WatchedLoader(
            loader, lambda inputs: evaluator.add(*unpack(prepare(inputs), self._num_classes))
        ), evaluator

    def after_optimizer_step(self, model: nn.Module, state: TrainerState) -> None:
        """Let the teacher follow the bare model, unless mixed precision skipped the step.

        Raises:
            ValueError: when a subclass of the trainer trains without the method.
        """
        share_batch_statistics(model)
        if not self._accelerator.optimizer_step_was_skipped:
            schedule_steps = self.identity.schedule_steps(state.max_steps)
            self.method_step.teacher.follow(model, step=state.global_step, schedule_steps=schedule_steps)
        self.step_share.forget()
        self._step_loss.refuse_bypassing(self._trainer_class)
