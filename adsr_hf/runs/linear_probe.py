"""What a frozen checkpoint is worth for a task before anything is trained: a linear classifier on its features."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adsr_hf.attacks.frozen import under_attack
from adsr_hf.data import ImageClassificationDataset
from adsr_hf.networks.adapted import is_adapted, merged_copy
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.publishing.head import UnfoldableHeadError, foldable_head

# Of the mean squared weight, per class: enough that separable features have a solution.
_PENALTY = 1e-3
_ITERATIONS = 200
_BATCH = 64
# More images make the probe no better than it has to be for a warning.
MOST_IMAGES = 2000


def probe_accuracy(features: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> float:
    """Accuracy on held-out images of multinomial logistic regression on standardised features; in [0, 1].

    Alain & Bengio 2016 (arXiv 1610.01644). The loss is strictly convex, so that L-BFGS finds the one solution.

    Args:
        features, held_out: (N, D) and (M, D), float.
        labels, held_out_labels: (N,) and (M,), int64 class indices.

    Example:
        >>> import torch
        >>> features = torch.tensor([[0.0, 1.0], [0.2, 1.1], [1.0, 0.0], [1.2, 0.1]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> probe_accuracy(features, labels, features, labels)
        1.0
    """
    mean, spread = features.mean(0), features.std(0).clamp(min=1e-6)
    standard, wanted = (features - mean) / spread, labels
    classes = int(torch.cat([labels, held_out_labels]).max()) + 1
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(functional.linear(standard, weight, bias), wanted)
        loss = loss + _PENALTY * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    answers = functional.linear((held_out - mean) / spread, weight, bias).argmax(1)
    return float((answers == held_out_labels).float().mean())


def head_features(model: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """What the last layer gets, (N, D), float32: the model is left as it was.

    Args:
        model: a bare classifier.
        batches: each (B, C, H, W), normalised; at least one.

    Raises:
        UnfoldableHeadError: when the model has no last layer that makes its logits alone.
    """
    kept: list[Tensor] = []
    waiting = iter(batches)
    first = next(waiting)
    with under_attack(model), torch.no_grad():
        # Found on a copy of the whole network, so once.
        head = model.get_submodule(foldable_head(model, first[:2]))
        hook = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].flatten(1).float()))
        try:
            for batch in itertools.chain([first], waiting):
                model(pixel_values=batch)
        finally:
            hook.remove()
    return torch.cat(kept)


@dataclass(frozen=True)
class LinearProbe:
    """What the probe of a checkpoint found.

    Attributes:
        accuracy: on the held-out images, in [0, 1].
        images: number of train images that it was fitted on.
        held_out: number of held-out images.
    """

    accuracy: float
    images: int
    held_out: int


def probe_checkpoint(
    model: Any, train: ImageClassificationDataset, held_out: ImageClassificationDataset, pixel_space: PixelSpace
) -> LinearProbe | None:
    """Probe a classifier's features on clean images of a data set, at most 2,000 of each split; seconds.

    Args:
        model: the classifier before training, bare or with adapters; it is left as it was.
        train, held_out: where the probe is fitted, and measured.
        pixel_space: how the model's inputs are normalised.

    Returns:
        None where there is nothing to probe: no single last layer, or one image a class.
    """
    network = merged_copy(model) if is_adapted(model) else model
    positions = [_spread(len(split)) for split in (train, held_out)]
    labels = [split.labels[chosen] for split, chosen in zip((train, held_out), positions, strict=True)]
    if min(map(len, positions)) == 0 or len(labels[0]) < 2 * len(labels[0].unique()):
        return None
    device = next(network.parameters()).device
    try:
        features = [
            head_features(
                network,
                (pixel_space.to_pixel_values(split.pixels(part.tolist()).to(device)) for part in chosen.split(_BATCH)),
            )
            for split, chosen in zip((train, held_out), positions, strict=True)
        ]
    except UnfoldableHeadError:
        return None
    wanted = [label.to(device) for label in labels]
    accuracy = probe_accuracy(features[0], wanted[0], features[1], wanted[1])
    return LinearProbe(accuracy, len(labels[0]), len(labels[1]))


def _spread(total: int) -> Tensor:
    """Positions from all over a split, which is often sorted by class."""
    return torch.linspace(0, total - 1, min(total, MOST_IMAGES)).long() if total else torch.empty(0, dtype=torch.int64)
