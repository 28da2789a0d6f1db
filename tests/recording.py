"""A trainer that notes down what went into and came out of every micro-batch, through Trainer's public hooks."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer


@dataclass
class MicroBatch:
    """One call of compute_loss in training.

    ``seen`` is what the training forward received; ``student`` and ``teacher`` are copies from before the call, and
    ``gradients_before`` and ``gradients_after`` what had accumulated before and after the attack.
    """

    step: int
    inputs: dict[str, Tensor]
    student: nn.Module
    teacher: nn.Module | None
    gradients_before: dict[str, Tensor | None]
    gradients_after: dict[str, Tensor | None] = field(default_factory=dict)
    seen: Tensor = field(default_factory=lambda: torch.empty(0))
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    loss: float = 0.0


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {
        name: None if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


def snapshot(model: nn.Module) -> nn.Module:
    """A copy without hooks and without the forward that accelerate wrapped for mixed precision."""
    copied = copy.deepcopy(model)
    copied._forward_pre_hooks.clear()
    for name in ("forward", "_original_forward"):
        copied.__dict__.pop(name, None)
    return copied


class _Gradients(TrainerCallback):
    def __init__(self, trainer: "RecordingTrainer") -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.trainer.gradients.append(gradients(self.trainer.model))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.trainer.students.append(snapshot(self.trainer.model))


class RecordingTrainer(ADSRTrainer):
    """``micro_batches`` in order; ``gradients`` before and ``students`` after each optimizer step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.micro_batches: list[MicroBatch] = []
        self.gradients: list[dict[str, Tensor | None]] = []
        self.students: list[nn.Module] = []
        self.add_callback(_Gradients(self))
        # A closure, since copying a model with a bound method would copy this trainer with it.
        self.model.register_forward_pre_hook(lambda *call: self._note_input(*call), with_kwargs=True)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self._current = MicroBatch(
            step=self.state.global_step,
            inputs={name: value.clone() for name, value in inputs.items()},
            student=snapshot(self.model),
            teacher=snapshot(self.teacher.model) if self.teacher is not None else None,
            gradients_before=gradients(self.model),
        )
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        self._current.logits, self._current.loss = outputs.logits.detach(), loss.item()
        self.micro_batches.append(self._current)
        return (loss, outputs) if return_outputs else loss

    def _note_input(self, module: nn.Module, _: Any, inputs: dict[str, Any]) -> None:
        # The training forward is the last one of each micro-batch, so that it overwrites those of the attack.
        if module is self.model and hasattr(self, "_current"):
            self._current.seen = inputs["pixel_values"].detach().clone()
            self._current.gradients_after = gradients(module)
