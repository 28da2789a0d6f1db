"""Layer-wise learning-rate decay: the deeper a layer lies under the head, the less it moves."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from torch import nn

from adsr_hf.fine_tuning.parts import block_of, is_embedding

# Key of an optimizer's parameter group that says by what its learning rate was multiplied.
SCALE = "layer_scale"


def learning_rate_scales(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """What each parameter's learning rate is multiplied by, after its name.

    With n blocks: block i (from 0) gets γ^(n − i), the embeddings γ^(n + 1), the final normalisation and the head 1
    (Bao et al., arXiv 2106.08254, and the code of He et al., arXiv 2111.06377). Blocks are counted through all stages;
    a downsampling belongs to the block that it stands next to in its stage.

    Args:
        model: ViT, DeiT, BEiT, DINOv2, Swin, ConvNeXt, ResNet or another whose blocks are numbered ``layers``,
            ``layer`` or ``stages``; bare, wrapped, or with adapters.
        layer_decay: γ, in (0, 1].

    Raises:
        ValueError: when no embeddings or no blocks are found.
    """
    names = [name for name, _ in model.named_parameters()]
    places = {name: block_of(name) for name in names}
    blocks = sorted({place for place in places.values() if place is not None and 0 <= place[1] < inf})
    if not blocks or not any(map(is_embedding, names)):
        raise ValueError(
            f"layer_decay={layer_decay:g} needs a network whose embeddings and numbered blocks can be told apart, and "
            f"{type(model).__name__} has parameters such as {', '.join(names[:3])}; set layer_decay to 1"
        )

    def scale(name: str) -> float:
        place = places[name]
        if is_embedding(name):
            return layer_decay ** (len(blocks) + 1)
        if place is None:
            return 1.0
        return layer_decay ** (len(blocks) - bisect_left(blocks, place) + (place[1] == inf))

    return {name: scale(name) for name in names}


def split_groups(
    groups: Sequence[Mapping[str, Any]], model: nn.Module, scales: Mapping[str, float]
) -> list[dict[str, Any]]:
    """An optimizer's parameter groups, each split by its parameters' scales, with learning rates multiplied.

    The first group has the largest scale, since its learning rate is the one that Trainer logs.

    Args:
        groups: ``optimizer.param_groups``, with ``lr``.
        model: whose parameters they are.
        scales: of :func:`learning_rate_scales`.

    Raises:
        ValueError: when the groups are not exactly the trained parameters: some optimizers hide them.
    """
    scale_of = {id(parameter): scales[name] for name, parameter in model.named_parameters() if parameter.requires_grad}
    if {id(parameter) for group in groups for parameter in group["params"]} != scale_of.keys():
        raise ValueError(
            "layer_decay needs an optimizer whose groups hold exactly the trained parameters, and this one keeps them "
            "elsewhere; choose another optim, or set layer_decay to 1"
        )
    split = []
    for scale in sorted(set(scale_of.values()), reverse=True):
        for group in groups:
            members = [parameter for parameter in group["params"] if scale_of[id(parameter)] == scale]
            if members:
                split.append({**group, "params": members, "lr": group["lr"] * scale, SCALE: scale})
    return split
