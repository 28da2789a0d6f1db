"""What this package asks of a model: one (B, K) tensor of logits for a batch of images."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from adsr_hf.networks.modes import forget_derived_tensors
from adsr_hf.networks.pixels import PixelSpace

# Their two heads are averaged for inference, and their own documentation calls them inference-only.
INFERENCE_ONLY = {
    "DeiTForImageClassificationWithTeacher": "DeiTForImageClassification",
    "LevitForImageClassificationWithTeacher": "LevitForImageClassification",
}

_IMAGES = "instead of images as pixel_values of shape (B, C, H, W)"

# Types of transformers' models whose image classifier does not fit, and why.
UNUSABLE = {
    "imagegpt": f"takes the number of each pixel's nearest colour (input_ids) {_IMAGES}",
    "pp_lcnet": "gives its scores as last_hidden_state, and no logits",
    "shieldgemma2": f"takes a question in words (input_ids) with each image {_IMAGES}",
    "siglip2": f"takes patches of images of any shape (pixel_values of shape (B, N, D)) {_IMAGES}",
}

# accelerate writes these into the instance when it wraps a model's forward for mixed precision.
_WRAPPED_FORWARD = ("forward", "_original_forward")

Model = TypeVar("Model", bound=nn.Module)


def number_of_classes(model: nn.Module) -> int:
    """K, from the model's config, for a single-label image classifier.

    Raises:
        ValueError: when the model has no class head with at least two classes, or is multi-label or a regression.
    """
    name, config = type(model).__name__, getattr(model, "config", None)
    num_labels = getattr(config, "num_labels", None)
    if num_labels is None or num_labels < 2:
        raise ValueError(
            f"model={name} has num_labels={num_labels}; a classifier of at least 2 classes is needed: "
            "load it with AutoModelForImageClassification.from_pretrained(..., num_labels=K)"
        )
    problem_type = getattr(config, "problem_type", None)
    if problem_type not in (None, "single_label_classification"):
        raise ValueError(
            f"model={name} has config.problem_type={problem_type!r}; only single_label_classification is supported: "
            "set config.problem_type = None if each image has exactly one label"
        )
    return int(num_labels)


def check_usable(model_type: str | None) -> None:
    """Refuse a type of transformers' models whose classifier does not map images to logits.

    Raises:
        ValueError: saying what it does.
    """
    if model_type in UNUSABLE:
        raise ValueError(
            f"model_type={model_type!r} {UNUSABLE[model_type]}, so that it can be neither attacked nor trained here; "
            "use another type, such as vit or siglip"
        )


def check_trainable(model: nn.Module) -> None:
    """Refuse classes of transformers that do not map images to logits, or are published for inference alone.

    Args:
        model: the bare classifier, without adapters.

    Raises:
        ValueError: naming what to train instead.
    """
    name = type(model).__name__
    if type(model).__module__.startswith("transformers."):
        # A class of one's own may do it.
        check_usable(getattr(getattr(model, "config", None), "model_type", None))
    if name in INFERENCE_ONLY:
        raise ValueError(
            f"model={name} averages two heads and is for inference only; train {INFERENCE_ONLY[name]} instead "
            f"({INFERENCE_ONLY[name]}.from_pretrained of the same checkpoint)"
        )


def logits_of(output: Any, num_classes: int) -> Tensor:
    """The (B, K) logits of a model's output, in the dtype that the model gave.

    Raises:
        ValueError: when there is no plain (B, K) float tensor: then no loss could be trusted.
    """
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] != num_classes:
        found = (
            f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"{type(logits).__name__} instead of one"
        )
        raise ValueError(
            f"the model's output.logits must be a tensor of shape (B, {num_classes}), got {found} in "
            f"{type(output).__name__}; wrap the model so that forward returns plain logits, or correct num_labels"
        )
    return logits


def pixels_to_logits(
    model: Callable[..., Any], pixel_space: PixelSpace, num_classes: int, **inputs: Any
) -> Callable[[Tensor], Tensor]:
    """The function that attacks differentiate: (B, C, H, W) float32 pixels in [0, 1] to (B, K) logits.

    Args:
        model: a bare model, or its compiled form; inputs are cast to the dtype of its parameters.
        pixel_space: how the model's inputs are normalised.
        num_classes: K.
        inputs: what else the batch holds, passed on to the model.
    """
    dtype = next(model.parameters()).dtype  # type: ignore[attr-defined]

    def logits_fn(pixels: Tensor) -> Tensor:
        output = model(pixel_values=pixel_space.to_pixel_values(pixels).to(dtype), **inputs)
        return logits_of(output, num_classes)

    return logits_fn


def bare_copy(model: Model, *, shared: Iterable[nn.Parameter] = ()) -> Model:
    """A deep copy that shares no storage with ``model`` and runs the class's own, unwrapped forward.

    A forward wrapped for mixed precision is bound to the original: a plain deep copy would compute with its weights.
    What modules derived from their weights is not copied; where it has a gradient, it could not be.

    Args:
        shared: parameters of ``model`` that the copy holds as they are, instead of copies.
    """
    forget_derived_tensors(model)
    wrapped = {name: model.__dict__.pop(name) for name in _WRAPPED_FORWARD if name in model.__dict__}
    try:
        with torch.no_grad():
            return copy.deepcopy(model, {id(parameter): parameter for parameter in shared})
    finally:
        model.__dict__.update(wrapped)
