"""The teacher of a run, and the soft targets that it gives: a moving average of the student, or a fixed network."""

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adsr_hf.config import ADSRConfig
from adsr_hf.method.fixed_teacher import load_fixed_teacher
from adsr_hf.method.reliability import TeacherReliability, batch_reliability
from adsr_hf.method.schedules import cosine_anneal, decay_of_memory, warmed_up_decay
from adsr_hf.method.targets import rectify
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.classifier import logits_of
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.training.batch import Batch
from adsr_hf.training.compilation import CompiledNetworks
from adsr_hf.training.position import RunPosition


class TeacherKeeper:
    """Keeps the teacher of a run, lets it follow the student, and asks it for targets (method.md section 1).

    Attributes:
        average: the moving average, which a checkpoint holds and ``publish='teacher'`` publishes; None without one.
        reliability: how good the teacher was on the batches so far; the same in every process.

    Args:
        args: the run's settings.
        num_classes: K.
        accelerator: computes the teacher's answers in the run's precision.
        compiled: holds the teacher's compiled version.
    """

    def __init__(
        self, args: ADSRConfig, *, num_classes: int, accelerator: Accelerator, compiled: CompiledNetworks
    ) -> None:
        self._args, self._num_classes = args, num_classes
        self._accelerator, self._compiled = accelerator, compiled
        self.average: EMATeacher | None = None
        self.reliability = TeacherReliability()
        self._fixed: nn.Module | None = None

    def begin(self, student: nn.Module, pixel_space: PixelSpace) -> None:
        """Make the teachers that the settings ask for, from the bare student as it now is.

        Raises:
            ValueError: when the fixed teacher cannot be loaded or does not fit the student.
        """
        args = self._args
        self.average = EMATeacher(student, args.teacher_decay) if args.keeps_teacher else None
        self.reliability.reset()
        self._fixed = None
        if args.fixed_teacher is not None:
            self._fixed = load_fixed_teacher(args.fixed_teacher, student, pixel_space).to(args.device)

    def follow(self, student: nn.Module, *, step: int, schedule_steps: int) -> None:
        """Move the average towards the bare student, after an optimizer step that happened.

        Args:
            step: optimizer steps taken before it.
            schedule_steps: length in optimizer steps of the schedules that depend on the length of the run.
        """
        if self.average is None:
            return
        decay = self._decay(schedule_steps)
        warm = warmed_up_decay(decay, step=step) if self._args.teacher_decay_warmup else decay
        self.average.update(student, decay=warm)

    def _decay(self, schedule_steps: int) -> float:
        memory = self._args.teacher_memory
        return self._args.teacher_decay if memory is None else decay_of_memory(memory, total_steps=schedule_steps)

    def annealed(self, position: RunPosition) -> tuple[float, float]:
        """Temperature and interpolation at a point of the run; with ``labels_follow='teacher'`` bounded by it."""
        args, step, total = self._args, position.step, position.schedule_steps
        temperature = cosine_anneal(args.temperature_start, args.temperature_end, step=step, total_steps=total)
        interpolation = cosine_anneal(args.interpolation_start, args.interpolation_end, step=step, total_steps=total)
        if args.labels_follow == "clock":
            return temperature, interpolation
        return min(temperature, self.reliability.temperature), interpolation * self.reliability.accuracy

    def schedules_by_length(self) -> list[str]:
        """What of it depends on the length of the run."""
        args = self._args
        annealed = {
            "temperature": args.temperature_start != args.temperature_end,
            "interpolation": args.interpolation_start != args.interpolation_end,
        }
        remembers = ["teacher_memory"] if args.keeps_teacher and args.teacher_memory is not None else []
        return [name for name, moves in annealed.items() if args.rectifies and moves] + remembers

    def targets(self, batch: Batch, position: RunPosition) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Rectified labels (B, K), float probabilities, and figures of them for the log."""
        labels, logits = batch.labels, self._logits(batch)
        if self._args.labels_follow == "teacher":
            seen = self._accelerator.reduce(batch_reliability(logits, labels), "mean")
            self.reliability.add(seen, decay=self._decay(position.schedule_steps))
        temperature, interpolation = self.annealed(position)
        rectified = rectify(logits, labels, temperature=temperature, interpolation=interpolation)
        return rectified.targets, {
            "temperature": temperature,
            "interpolation": interpolation,
            "mean_lambda": rectified.interpolation.mean(),
            "teacher_agreement": (rectified.tempered.argmax(1) == labels).float().mean(),
            "label_entropy": torch.special.entr(rectified.targets).sum(1).mean(),
        }

    def _logits(self, batch: Batch) -> Tensor:
        teacher = self._fixed
        if teacher is None:
            assert self.average is not None
            teacher = self.average.model
        with torch.no_grad(), self._accelerator.autocast():
            output = self._compiled.get("teacher", teacher)(pixel_values=batch.pixel_values, **batch.others)
        return logits_of(output, self._num_classes)
