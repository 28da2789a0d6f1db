"""A low-precision copy of the model for the training attack, which needs little more than a gradient's sign."""

import torch
from torch import nn
from transformers import PreTrainedModel

from adsr_hf.networks.adapted import base_network
from adsr_hf.networks.classifier import bare_copy
from adsr_hf.networks.modes import forget_derived_tensors


class BFloat16Copy:
    """The student's weights cast to bfloat16 once after each optimizer step, not at each of the attack's passes.

    On a CPU the copy computes attention by plain matrix products: the fused kernel's bfloat16 backward is slower there
    than all the rest (docs/speed.md).

    Args:
        model: the bare student.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: nn.Module = bare_copy(model).bfloat16().eval().requires_grad_(False)
        device, network = next(model.parameters()).device, base_network(self.model)
        if device.type == "cpu" and isinstance(network, PreTrainedModel):
            network.set_attn_implementation("eager")

    @torch.no_grad()
    def refresh(self, model: nn.Module) -> None:
        """Copy the student's present parameters and buffers."""
        copies = [*self.model.parameters(), *self.model.buffers()]
        originals = [*model.parameters(), *model.buffers()]
        torch._foreach_copy_(copies, originals)
        forget_derived_tensors(self.model)
