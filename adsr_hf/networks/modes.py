"""Training and eval mode, set as each module wants it: through ``Module.train``, which some classes override."""

from torch import nn
from transformers import PreTrainedModel

# The latter chooses kernels by the mode, and keeps nothing of the weights.
_PLAIN = (nn.Module.train, PreTrainedModel.train)

Modes = list[tuple[nn.Module, bool]]


def modes_of(model: nn.Module) -> Modes:
    """Every module with its mode, parents before what they hold."""
    return [(module, module.training) for module in model.modules()]


def set_modes(modes: Modes) -> None:
    """Give every module the mode that :func:`modes_of` found, one by one, since a root alone would unfreeze others."""
    for module, mode in modes:
        if module.training != mode:
            module.train(mode)
    # A later module may hold an earlier one too, and an override may have set more than its own module.
    for module, mode in modes:
        if module.training != mode:
            module.training = mode


def forget_derived_tensors(model: nn.Module) -> None:
    """Make modules compute anew what they derive from their weights once and keep; modes are afterwards as before.

    LeViT keeps its attention biases, looked up for each pair of positions, from the first forward pass in eval mode
    until ``train(True)``. Whoever changes the weights of a network that stays in eval mode calls this after it. Where
    no class has a ``train`` of its own, nothing is kept and nothing done, since this runs several times a step.
    """
    if any(type(module).train not in _PLAIN for module in model.modules()):
        modes = modes_of(model)
        model.train()
        set_modes(modes)
