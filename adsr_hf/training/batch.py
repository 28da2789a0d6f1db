"""One batch: what it must hold, and its share of an optimizer step."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from adsr_hf.networks.pixels import PixelSpace


class Batch(NamedTuple):
    """What a loader's batch holds.

    Attributes:
        pixel_values: (B, C, H, W) normalised images.
        labels: (B,) int64 class indices.
        others: what else the model takes.
    """

    pixel_values: Tensor
    labels: Tensor
    others: dict[str, Any]


def unpack(inputs: Mapping[str, Any], num_classes: int) -> Batch:
    """Check a batch and take it apart.

    Raises:
        ValueError: when images or labels are missing, or labels are no class indices of the model.
    """
    others = dict(inputs)
    pixel_values, labels = others.pop("pixel_values", None), others.pop("labels", None)
    if pixel_values is None or labels is None:
        raise ValueError(
            f"a batch must hold pixel_values and labels, got {sorted(inputs)}; rename the label column to "
            "'labels', or let the collator do it (transformers' DefaultDataCollator turns 'label' into 'labels')"
        )
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(
            f"labels must be one class index for each image, got shape {tuple(labels.shape)} and {labels.dtype}; "
            "mixed or multi-label targets are not supported"
        )
    low, high = torch.stack(torch.aminmax(labels)).tolist()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels run from {low} to {high}, but the model has classes 0 to {num_classes - 1}; load "
            "it with num_labels set to the number of classes, or correct the labels"
        )
    return Batch(pixel_values, labels.long(), others)


def repeated(others: Mapping[str, Any], images: int, times: int) -> dict[str, Any]:
    """The model's other inputs for a batch that holds each of its ``images`` several times."""
    if times == 1:
        return dict(others)

    def repeat(value: Any) -> Any:
        return torch.cat([value] * times) if isinstance(value, Tensor) and value.shape[:1] == (images,) else value

    return {name: repeat(value) for name, value in others.items()}


def normalised(pixels: Tensor, pixel_space: PixelSpace, *, like: Tensor) -> Tensor:
    """Pixels in [0, 1] as the model takes them, in the dtype of ``like`` unless that holds integers.

    Between grey levels there is no integer: a cast would cut perturbations off.
    """
    values = pixel_space.to_pixel_values(pixels)
    return values.to(like.dtype) if like.is_floating_point() else values


class StepShare:
    """The weight that makes every image of an optimizer step count alike, over unequal micro-batches and processes.

    Trainer counts the images of a step only for models whose forward takes their number.
    """

    def __init__(self) -> None:
        self._images: Tensor | None = None

    def count(self, batches: Sequence[Mapping[str, Any]], accelerator: Accelerator, device: torch.device) -> None:
        """Count the images of the optimizer step that these micro-batches make, over all processes."""
        self._images = None
        if batches and all("labels" in batch for batch in batches):
            images = torch.tensor(sum(len(batch["labels"]) for batch in batches), device=device)
            self._images = accelerator.reduce(images, "sum")

    def forget(self) -> None:
        """The step is over, or Trainer has counted itself."""
        self._images = None

    def of(self, images: int, counted: Tensor | int | None, *, processes: int, micro_batches: int) -> Tensor | float:
        """Factor of the mean loss over ``images`` images.

        Args:
            counted: images of the whole step as Trainer counted them; None = it did not.
            processes: how many there are.
            micro_batches: of the step, by whose number Trainer divides what it takes for a mean.
        """
        if counted is not None:
            return images * processes / counted
        if self._images is None:
            return 1.0
        return images * processes * micro_batches / self._images
