"""A temperature folded into a classification head: same predictions, other confidence, an ordinary checkpoint."""

from typing import Any

import torch
from torch import Tensor, nn

from adsr_hf.networks.classifier import bare_copy, logits_of, number_of_classes
from adsr_hf.networks.modes import forget_derived_tensors

# A power of two scales floats without rounding: what the head's structure does to it is all that shows.
_PROBE_TEMPERATURE = 2.0

_WAY_OUT = "set calibrate='none' and divide the logits by a temperature where you use the model"


class UnfoldableHeadError(ValueError):
    """Scaling one layer would not divide this model's logits by the temperature, and nothing else."""


def foldable_head(model: nn.Module, pixel_values: Tensor, **inputs: Any) -> str:
    """Name of the layer that a temperature can be folded into: the last linear or convolutional one that is computed.

    Decided by behaviour: in a copy the layer is scaled by 1/2, and the logits must halve.

    Args:
        model: a bare classifier; it is left as it is.
        pixel_values: (B, C, H, W), normalised, the images that it is tried on.
        inputs: what else the model takes.

    Raises:
        UnfoldableHeadError: when there is no such layer, or scaling it does something else.
    """
    return _verified_head(model, _PROBE_TEMPERATURE, pixel_values, inputs)


def fold_temperature(model: nn.Module, temperature: float, pixel_values: Tensor, **inputs: Any) -> None:
    """Divide a classifier's logits by a temperature T: in place, by scaling the weight and bias of its last layer.

    Guo et al. 2017 (arXiv 1706.04599), equation 9. The highest logit stays where it is, on every input.

    Args:
        model: a bare classifier.
        temperature: T, positive.
        pixel_values, inputs: see :func:`foldable_head`; on these images logits must be those before over T, to float
            tolerance, and predictions the same.

    Raises:
        UnfoldableHeadError: when they are not; the model is then as it was.
    """
    name = _verified_head(model, temperature, pixel_values, inputs)
    _scale(model.get_submodule(name), temperature)


def own_parameters(module: nn.Module) -> None:
    """Replace a layer's parameters by equal ones that no other module holds."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        module.register_parameter(name, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))


def _verified_head(model: nn.Module, temperature: float, pixel_values: Tensor, inputs: dict[str, Any]) -> str:
    copied = bare_copy(model).eval()
    calls, before = _calls_and_logits(copied, pixel_values, inputs)
    kind = type(model).__name__
    if not calls:
        raise UnfoldableHeadError(
            f"calibrate: {kind} computes no linear or convolutional layer that a temperature could be folded into; "
            f"{_WAY_OUT}"
        )
    name = calls[-1]
    _refuse_shared(copied, name, calls, kind)
    _scale(copied.get_submodule(name), temperature)
    forget_derived_tensors(copied)
    _, after = _calls_and_logits(copied, pixel_values, inputs)
    wanted = before / temperature
    # Rounding of the scaled weights, relative to the largest logit: features are the same to the bit.
    dtype = next(copied.get_submodule(name).parameters()).dtype
    rounding = max(1e-5, 4 * torch.finfo(dtype).eps)
    error = (after - wanted).abs().max() / wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
    if error > rounding:
        raise UnfoldableHeadError(
            f"calibrate: scaling {name!r}, the last layer of {kind}, by 1 / {temperature:g} does not divide the "
            f"logits by {temperature:g} (they are off by {error:.2g} of the largest): what follows it is not linear, "
            f"or several classifiers are combined; {_WAY_OUT}"
        )
    if not torch.equal(after.argmax(1), before.argmax(1)):
        raise UnfoldableHeadError(
            f"calibrate: scaling {name!r} of {kind} by 1 / {temperature:g} changes predictions, since its weights in "
            f"{dtype} are too coarse; load the model in float32, or {_WAY_OUT}"
        )
    return name


@torch.no_grad()
def _calls_and_logits(model: nn.Module, pixel_values: Tensor, inputs: dict[str, Any]) -> tuple[list[str], Tensor]:
    """Names of the linear and convolutional layers in the order in which they are computed, and the (B, K) logits."""
    calls: list[str] = []
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda *_, name=name: calls.append(name)) for name, layer in layers]
    try:
        output = model(pixel_values=pixel_values.to(next(model.parameters()).dtype), **inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return calls, logits_of(output, number_of_classes(model))


def _refuse_shared(model: nn.Module, name: str, calls: list[str], kind: str) -> None:
    if calls.count(name) > 1:
        raise UnfoldableHeadError(
            f"calibrate: {kind} computes {name!r}, its last layer, {calls.count(name)} times, so that scaling it "
            f"would change more than the logits; {_WAY_OUT}"
        )
    of_head = dict(model.get_submodule(name).named_parameters(recurse=False))
    if "weight" not in of_head:
        raise UnfoldableHeadError(
            f"calibrate: the weight of {name!r}, the last layer of {kind}, is computed from other tensors "
            f"(a parametrization); remove it first, or {_WAY_OUT}"
        )
    tensors = {parameter.data_ptr() for parameter in of_head.values()}
    sharing = [
        other
        for other, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.data_ptr() in tensors and other.rpartition(".")[0] != name
    ]
    if sharing:
        raise UnfoldableHeadError(
            f"calibrate: {name!r}, the last layer of {kind}, shares its weights with {', '.join(sharing)}, which "
            f"scaling would change too; untie them, or {_WAY_OUT}"
        )


@torch.no_grad()
def _scale(layer: nn.Module, temperature: float) -> None:
    for parameter in layer.parameters(recurse=False):
        parameter.copy_(parameter.double() / temperature)
