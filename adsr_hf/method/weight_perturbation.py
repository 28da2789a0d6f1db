"""Adversarial weight perturbation: take a step's gradient where the loss is higher, and come back.

Wu, Xia & Wang, *Adversarial Weight Perturbation Helps Robust Generalization* (NeurIPS 2020, arXiv 2004.05884).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adsr_hf.networks.modes import forget_derived_tensors

# Maps a network to its loss, a scalar.
LossOf = Callable[[Callable[..., Any]], Tensor]


class WeightPerturbation:
    """Moves weights by v_l = γ · ‖w_l‖ · g_l / ‖g_l‖, tensor by tensor (equations 7 and 8 with one step of ascent).

    g is the loss's gradient at the weights as they are. :meth:`restore` brings them back bit for bit.

    Args:
        model: the bare model.
        radius: γ, relative to each tensor's norm, in (0, 1); 5e-3 in the paper.
        every_tensor: perturb biases and normalisation too, as the ADR authors' code does, instead of tensors of two
            or more dimensions alone.

    Raises:
        ValueError: when there is nothing to perturb.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2)
        >>> before = model.weight.detach().clone()
        >>> perturbation = WeightPerturbation(model, radius=0.01)
        >>> perturbation.perturb(lambda network: network(torch.ones(1, 2)).square().sum())
        >>> torch.equal(model.weight, before)
        False
        >>> perturbation.restore()
        >>> torch.equal(model.weight, before)
        True
    """

    def __init__(self, model: nn.Module, *, radius: float, every_tensor: bool = False) -> None:
        self.model = model
        self.radius = radius
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.tensors: list[Tensor] = [parameter for parameter in trained if every_tensor or parameter.ndim >= 2]
        if not self.tensors:
            raise ValueError(
                f"weight_perturbation finds no trained tensor of two or more dimensions in {type(model).__name__}; "
                "unfreeze its matrices, or set weight_perturbation='none'"
            )
        self._kept: list[Tensor] | None = None

    def perturb(
        self, loss_of: LossOf, *, average: Callable[[Tensor], Tensor] | None = None, scale: float = 1.0
    ) -> None:
        """Move the weights to where the loss is higher. No ``.grad`` is touched, and buffers come back.

        Args:
            loss_of: gives the loss of a network that is called as the model is.
            average: mean of a tensor over all processes, where there are several.
            scale: multiplies the loss, so that gradients in float16 do not vanish.

        Raises:
            RuntimeError: when the weights are perturbed already.
        """
        if self._kept is not None:
            raise RuntimeError("the weights are perturbed already; call restore() first")
        with self._kept_buffers():
            gradients = torch.autograd.grad(scale * loss_of(self.model), self.tensors, allow_unused=True)
        moves = self._moves(gradients, average)
        with torch.no_grad():
            self._kept = [tensor.detach().clone() for tensor in self.tensors]
            torch._foreach_add_(self.tensors, moves)
        forget_derived_tensors(self.model)

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the weights back, bit for bit; without a perturbation nothing happens."""
        if self._kept is not None:
            torch._foreach_copy_(self.tensors, self._kept)
            forget_derived_tensors(self.model)
            self._kept = None

    @torch.no_grad()
    def _moves(self, gradients: Sequence[Tensor | None], average: Callable[[Tensor], Tensor] | None) -> list[Tensor]:
        moves = []
        for tensor, gradient in zip(self.tensors, gradients, strict=True):
            direction = torch.zeros_like(tensor) if gradient is None else gradient
            direction = direction if average is None else average(direction)
            length = direction.float().norm()
            # Zero and overflowed gradients point nowhere.
            usable = (length > 0) & torch.isfinite(length)
            factor = torch.where(usable, self.radius * tensor.float().norm() / length, 0.0)
            moves.append(torch.where(usable, direction * factor.to(direction.dtype), 0.0))
        return moves

    @contextmanager
    def _kept_buffers(self) -> Iterator[None]:
        """Batch statistics are afterwards as they were, also where activation checkpointing computes them twice."""
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(kept[name])
