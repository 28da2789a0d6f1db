"""An attack must leave no trace in the model: modes, flags and gradients are as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def under_attack(model: nn.Module, *, keep_modes: bool = False) -> Iterator[None]:
    """Freeze ``model`` while its inputs are attacked, and put every module and parameter back afterwards.

    Freezing spares the weight gradients, about a third of the time of a backward pass. Modes and flags are restored
    one by one, since a root ``.train()`` would unfreeze what the user froze; also when the attack raises.

    Args:
        model: the bare model, not wrapped for distributed training.
        keep_modes: leave dropout and batch statistics as they are (the paper's code) instead of eval mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        if not keep_modes:
            for module, _ in modes:
                module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
