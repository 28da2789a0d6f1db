"""The teacher: an exponential moving average of the student, which rectifies labels and can be published (WA)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adsr_hf.classifier import bare_copy


class EMATeacher:
    """Moving average φ ← γφ + (1 − γ)θ of a model's parameters and floating-point buffers.

    Wu et al., ICLR 2024 (arXiv 2305.12118), section 3.2; Izmailov et al. (arXiv 1803.05407) for publishing it.
    Buffers of other dtypes, such as counters, are copied. The average is kept in float32 even where the student is
    bfloat16, since steps of (1 − γ) would be lost to rounding. It shares no storage with the student.

    Args:
        model: the student, an ``nn.Module`` that is not wrapped for distributed training.
        decay: γ, in [0, 1); the average remembers about 1 / (1 − γ) updates.

    Raises:
        ValueError: when ``decay`` is outside [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.995) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must lie in [0, 1)")
        self.decay = decay
        self.model = bare_copy(model).float().eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, *, decay: float | None = None) -> None:
        """Move the average towards ``model``, the bare student: once after each optimizer step that happened.

        Args:
            decay: γ of this update alone, in [0, 1), instead of the teacher's own.
        """
        averages, current = [], []
        for mine, theirs in _paired_tensors(self.model, model):
            if mine.is_floating_point():
                averages.append(mine)
                current.append(theirs.to(mine.dtype))
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(averages, current, 1 - (self.decay if decay is None else decay))

    @torch.no_grad()
    def forward(self, pixel_values: Tensor, **inputs: Any) -> Any:
        """The average's output on (B, C, H, W) normalised images: eval mode, no gradient."""
        return self.model(pixel_values=pixel_values, **inputs)

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers, also those that an ordinary checkpoint leaves out; float32 and integer tensors."""
        tensors = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`.

        Raises:
            ValueError: when names or shapes differ from this teacher's.
        """
        own = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        if state.keys() != own.keys():
            raise ValueError(
                f"the saved teacher does not fit this model: missing {sorted(own.keys() - state.keys())[:5]}, "
                f"unexpected {sorted(state.keys() - own.keys())[:5]}"
            )
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(
                    f"the saved teacher does not fit this model: {name} has shape {tuple(state[name].shape)}, "
                    f"expected {tuple(tensor.shape)}"
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _paired_tensors(teacher: nn.Module, student: nn.Module) -> list[tuple[Tensor, Tensor]]:
    parameters = zip(teacher.parameters(), student.parameters(), strict=True)
    buffers = zip(teacher.buffers(), student.buffers(), strict=True)
    return [*parameters, *buffers]
