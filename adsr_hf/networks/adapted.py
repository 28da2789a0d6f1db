"""What a network with low-rank adapters looks like from outside: its base, its parameters, what is kept of it."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import is_peft_available

from adsr_hf.networks.classifier import bare_copy


def is_adapted(model: nn.Module) -> bool:
    """Whether a network is a ``peft.PeftModel``."""
    if not is_peft_available():
        return False
    from peft import PeftModel

    return isinstance(model, PeftModel)


def base_network(model: Any) -> Any:
    """The classifier inside, which holds the adapters; a network without any is returned as it is."""
    return model.get_base_model() if is_adapted(model) else model


def merged_copy(model: Any) -> Any:
    """An ordinary classifier with the adapters added to its weights, W₀ + (α / r) BA; a copy in any case."""
    copied = bare_copy(model)
    return copied.merge_and_unload() if is_adapted(model) else copied


def number_of_parameters(model: nn.Module) -> int:
    """Parameters of the ordinary classifier that is published."""
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not {"lora_A", "lora_B", "original_module"} & set(name.split(".")) or not is_adapted(model)
    )


def raw_state(model: nn.Module) -> dict[str, Tensor]:
    """What restores the network under its own names: all of it, or what is trained beside its frozen weights."""
    state = model.state_dict()
    if not is_adapted(model):
        return state
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in state.items() if name not in frozen}


@torch.no_grad()
def frozen_fingerprint(model: nn.Module) -> str:
    """sha256 of the frozen parameters, names and bytes: adapters mean nothing beside other ones."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            values = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(name.encode() + values.numpy().data)
    return digest.hexdigest()
