"""The head of a pretrained classifier: which tensors depend on the classes, made new or put in another order."""

import copy
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel


def head_tensors(model: PreTrainedModel) -> dict[str, int]:
    """Name of each tensor whose shape depends on the number of classes, and the dimension that counts them."""
    shapes = []
    for more in (0, 1):
        config = copy.deepcopy(model.config)
        config.num_labels = model.config.num_labels + more
        with torch.device("meta"):
            other = type(model)(config)
        shapes.append({name: tensor.shape for name, tensor in other.state_dict().items()})
    return {
        name: next(dim for dim, (size, more) in enumerate(zip(shape, shapes[1][name], strict=True)) if size != more)
        for name, shape in shapes[0].items()
        if shape != shapes[1][name]
    }


@torch.no_grad()
def renew_head(model: PreTrainedModel) -> None:
    """Initialise the head as its architecture does, whatever was loaded into it."""
    fresh = type(model)(copy.deepcopy(model.config))
    trained, new = model.state_dict(), fresh.state_dict()
    for name in head_tensors(model):
        trained[name].copy_(new[name])


@torch.no_grad()
def reorder_head(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Make class i what was class ``order[i]``.

    Args:
        order: a permutation of the class indices.
    """
    state, indices = model.state_dict(), torch.tensor(order)
    for name, dimension in head_tensors(model).items():
        state[name].copy_(state[name].index_select(dimension, indices))
