"""What loss a model computes by itself from images and labels: none, the cross-entropy of its logits, or more."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adsr_hf.attacks.isolation import under_attack
from adsr_hf.classifier import logits_of
from adsr_hf.fine_tuning.lora import base_network

# Two ways to compute one cross-entropy differ by some roundings of the coarser dtype.
_ROUNDINGS = 100


def extra_loss(model: nn.Module, pixel_values: Tensor, others: dict[str, Any], num_classes: int) -> float | None:
    """What the model's own loss adds to the mean cross-entropy of its logits; None where it computes no loss.

    Measured on one batch under made-up labels, in eval mode; 0 where the two agree but for rounding, or are not
    finite.

    Args:
        model: the bare model, which is left as it was.
        pixel_values: (B, C, H, W) normalised inputs.
        others: what else the model takes.
        num_classes: K.
    """
    if "labels" not in inspect.signature(type(base_network(model)).forward).parameters:
        return None
    labels = torch.arange(len(pixel_values), device=pixel_values.device) % num_classes
    with under_attack(model), torch.no_grad():
        output = model(pixel_values=pixel_values, labels=labels, **others)
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if own is None:
        return None
    logits = logits_of(output, num_classes)
    expected = functional.cross_entropy(logits.float(), labels).item()
    difference = own.float().mean().item() - expected
    rounding = _ROUNDINGS * max(torch.finfo(own.dtype).eps, torch.finfo(torch.float32).eps) * max(1.0, abs(expected))
    return difference if abs(difference) > rounding else 0.0
