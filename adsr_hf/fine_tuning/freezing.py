"""Parts of a network that do not learn."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from adsr_hf.fine_tuning.parts import parts


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Take parameters out of training by name.

    A pattern is a run of whole components of a parameter's name: ``layers.1`` means ``vit.layers.1.mlp.fc1.weight``
    and not ``vit.layers.10...``. Each component may hold the wildcards ``*``, ``?`` and ``[0-5]``. Parameters alone
    are frozen: BatchNorm's running statistics follow the images all the same.

    Args:
        model: changed in place.
        patterns: at least one of them must match a parameter, each for itself.

    Returns:
        the names of all parameters that are now frozen.

    Raises:
        ValueError: when a pattern matches nothing, or nothing is left to train. The model is unchanged then.
    """
    parameters = dict(model.named_parameters())
    matched = set[str]()
    for pattern in patterns:
        found = {name for name in parameters if _matches(pattern, name)}
        if not found:
            raise ValueError(
                f"freeze={pattern!r} matches no parameter of {type(model).__name__}, which has: "
                f"{', '.join(parts(list(parameters)))}"
            )
        matched |= found
    if all(name in matched or not parameter.requires_grad for name, parameter in parameters.items()):
        raise ValueError(
            f"freeze={list(patterns)} leaves nothing to train in {type(model).__name__}; leave out at least the head"
        )
    for name in matched:
        parameters[name].requires_grad_(False)
    return [name for name, parameter in parameters.items() if not parameter.requires_grad]


def _matches(pattern: str, name: str) -> bool:
    wanted, components = pattern.split("."), name.split(".")
    starts = range(len(components) - len(wanted) + 1)
    return any(all(map(fnmatchcase, components[start : start + len(wanted)], wanted)) for start in starts)
