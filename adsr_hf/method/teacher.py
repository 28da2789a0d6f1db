"""The teacher: an exponential moving average of the student, which rectifies labels and can be published (WA)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adsr_hf.networks.classifier import bare_copy
from adsr_hf.networks.modes import forget_derived_tensors


class EMATeacher:
    """Moving average φ ← γφ + (1 − γ)θ of a model's parameters and floating-point buffers.

    Wu et al., ICLR 2024 (arXiv 2305.12118), section 3.2; Izmailov et al. (arXiv 1803.05407) for publishing it.
    Buffers of other dtypes, such as counters, are copied. The average is kept in float32 even where the student is
    bfloat16, since steps of (1 − γ) would be lost to rounding. It shares no storage with what the student trains.

    Parameters that are frozen when the teacher is built are their own average. They are no part of its state, and in
    float32 they are the student's own, so that beside adapters the teacher takes the room of the adapters alone.

    Args:
        model: the student, an ``nn.Module`` that is not wrapped for distributed training.
        decay: γ, in [0, 1); the average remembers about 1 / (1 − γ) updates.

    Raises:
        ValueError: when ``decay`` is outside [0, 1).

    Example:
        >>> import torch
        >>> student = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(student.weight)
        >>> teacher = EMATeacher(student, decay=0.9)
        >>> _ = torch.nn.init.ones_(student.weight)
        >>> teacher.update(student)
        >>> round(teacher.model.weight.item(), 3)
        0.1
    """

    def __init__(self, model: nn.Module, decay: float = 0.995) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must lie in [0, 1)")
        self.decay = decay
        frozen = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
        # Of another dtype they would not go with activations in float32.
        shared = {id(parameter): parameter for parameter in frozen.values() if parameter.dtype == torch.float32}
        self.model = bare_copy(model, shared=shared.values()).eval()
        for parameter in self.model.parameters():
            # Module.float() and its like would reach into the student.
            if id(parameter) not in shared and parameter.is_floating_point():
                parameter.requires_grad_(False)
                parameter.data = parameter.data.float()
        for buffer in self.model.buffers():
            if buffer.is_floating_point():
                buffer.data = buffer.data.float()
        self._frozen = frozenset(frozen)

    @torch.no_grad()
    def update(self, model: nn.Module, *, decay: float | None = None) -> None:
        """Move the average towards ``model``, the bare student: once after each optimizer step that happened.

        Args:
            decay: γ of this update alone, in [0, 1), instead of the teacher's own.

        Raises:
            RuntimeError: when a parameter is trained that was frozen when the teacher was built.
        """
        averages, current = [], []
        for average, current_value in self._paired_tensors(model):
            if average.is_floating_point():
                averages.append(average)
                current.append(current_value.to(average.dtype))
            else:
                average.copy_(current_value)
        torch._foreach_lerp_(averages, current, 1 - (self.decay if decay is None else decay))
        forget_derived_tensors(self.model)

    @torch.no_grad()
    def forward(self, pixel_values: Tensor, **inputs: Any) -> Any:
        """The average's output on (B, C, H, W) normalised images: eval mode, no gradient."""
        return self.model(pixel_values=pixel_values, **inputs)

    def state_dict(self) -> dict[str, Tensor]:
        """Averaged parameters, and all buffers, also those that an ordinary checkpoint leaves out."""
        return {name: tensor.detach().contiguous() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`.

        Raises:
            ValueError: when names or shapes differ from this teacher's.
        """
        tensors = self._tensors()
        if state.keys() != tensors.keys():
            raise ValueError(
                f"the saved teacher does not fit this model: missing {sorted(tensors.keys() - state.keys())[:5]}, "
                f"unexpected {sorted(state.keys() - tensors.keys())[:5]}; freeze what was frozen when it was saved"
            )
        for name, tensor in tensors.items():
            if tensor.shape != state[name].shape:
                raise ValueError(
                    f"the saved teacher does not fit this model: {name} has shape {tuple(state[name].shape)}, "
                    f"expected {tuple(tensor.shape)}"
                )
        for name, tensor in tensors.items():
            tensor.copy_(state[name])
        forget_derived_tensors(self.model)

    def _tensors(self) -> dict[str, Tensor]:
        averaged = {name: value for name, value in self.model.named_parameters() if name not in self._frozen}
        return averaged | dict(self.model.named_buffers())

    def _paired_tensors(self, student: nn.Module) -> list[tuple[Tensor, Tensor]]:
        pairs: list[tuple[Tensor, Tensor]] = list(zip(self.model.buffers(), student.buffers(), strict=True))
        named = zip(self.model.named_parameters(), student.parameters(), strict=True)
        for (name, average), current_value in named:
            if name not in self._frozen:
                pairs.append((average, current_value))
            elif current_value.requires_grad:
                raise RuntimeError(
                    f"{name} was frozen when the teacher was built, and is trained now; freeze and unfreeze "
                    "parameters before training starts"
                )
        return pairs
