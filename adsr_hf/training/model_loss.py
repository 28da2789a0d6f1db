"""What loss a model computes by itself from images and labels: none, the cross-entropy of its logits, or more."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adsr_hf.attacks.frozen import under_attack
from adsr_hf.networks.adapted import base_network
from adsr_hf.networks.classifier import logits_of

# Two ways to compute one cross-entropy differ by some roundings of the coarser dtype.
_ROUNDINGS = 100


@dataclass(frozen=True)
class ModelLoss:
    """A model's own loss, as its first batch shows it.

    Attributes:
        added: beside the mean cross-entropy of its logits; 0 where that is all but for rounding, or not finite.
        counts: whether it is a sum divided by ``num_items_in_batch`` where that is given.
    """

    added: float
    counts: bool


def model_loss(
    model: nn.Module,
    pixel_values: Tensor,
    others: dict[str, Any],
    num_classes: int,
    *,
    takes_count: bool,
    keep_modes: bool = False,
) -> ModelLoss | None:
    """Look at the model's own loss on one batch under made-up labels; None where it computes none.

    Args:
        model: the bare model, which is left as it was, but for batch statistics with ``keep_modes``.
        pixel_values: (B, C, H, W) normalised inputs.
        others: what else the model takes.
        num_classes: K.
        takes_count: whether it can be given ``num_items_in_batch``. Many of transformers' classifiers take it with
            their other arguments and leave it unused, which Trainer does not know.
        keep_modes: look at it in the modes that the modules have, instead of in eval mode.
    """
    if "labels" not in inspect.signature(type(base_network(model)).forward).parameters:
        return None
    images = len(pixel_values)
    accelerators = [pixel_values.device] if pixel_values.is_cuda else []
    labels = torch.arange(images, device=pixel_values.device) % num_classes

    def computed(**count: int) -> tuple[float, float, float] | None:
        """Loss, cross-entropy, and by how much two equal losses may differ."""
        # The same dropout in each pass, and none of the random numbers that training draws.
        with under_attack(model, keep_modes=keep_modes), torch.random.fork_rng(devices=accelerators), torch.no_grad():
            output = model(pixel_values=pixel_values, labels=labels, **others, **count)
        found_loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if found_loss is None:
            return None
        expected = functional.cross_entropy(logits_of(output, num_classes).float(), labels).item()
        epsilon = max(torch.finfo(found_loss.dtype).eps, torch.finfo(torch.float32).eps)
        return found_loss.float().mean().item(), expected, _ROUNDINGS * epsilon * max(1.0, abs(expected))

    found = computed(num_items_in_batch=2 * images) if takes_count else computed()
    if found is None:
        return None
    loss, expected, tolerance = found
    if takes_count and abs(loss - expected / 2) <= tolerance:
        return ModelLoss(added=0.0, counts=True)
    if abs(loss - expected) <= tolerance:
        return ModelLoss(added=0.0, counts=False)
    counted, (plain, expected, tolerance) = loss, (computed() or found) if takes_count else found
    difference = plain - expected
    return ModelLoss(added=difference if abs(difference) > tolerance else 0.0, counts=abs(plain - counted) > tolerance)
