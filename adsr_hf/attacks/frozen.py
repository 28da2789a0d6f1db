"""An attack must leave no trace in the model: modes, flags and gradients are as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from adsr_hf.networks.modes import forget_derived_tensors, modes_of, set_modes


@contextmanager
def under_attack(model: nn.Module, *, keep_modes: bool = False) -> Iterator[None]:
    """Freeze ``model`` while its inputs are attacked, and put every module and parameter back afterwards.

    Freezing spares the weight gradients, about a third of the time of a backward pass. Modes and flags are restored
    one by one, since a root ``.train()`` would unfreeze what the user froze; also when the attack raises. What modules
    derive from their weights and keep is computed anew both inside and afterwards: before, the weights may have been
    others, and inside they take no gradient.

    Args:
        model: the bare model, not wrapped for distributed training.
        keep_modes: leave dropout and batch statistics as they are (the paper's code) instead of eval mode.
    """
    modes = modes_of(model)
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        forget_derived_tensors(model)
        if not keep_modes:
            model.eval()
        yield
    finally:
        forget_derived_tensors(model)
        set_modes(modes)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
