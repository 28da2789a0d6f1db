"""Do a model's gradients exist, and do they say how its output really changes?"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adsr_hf.attacks import ThreatModel
from adsr_hf.attacks.interface import image_generators
from adsr_hf.evaluation.sanity.measurements import Probe, finite

RANDOM_DIRECTIONS = 3
# A step changes the margin by about this share of the spread of the logits: far above rounding, and still a straight
# piece of the curve.
_CHANGE = 0.01
# Longest step, as a change of any one pixel value: images are moved this far away from 0 and 1 beforehand, so that a
# model which clips its input shows the same slope on both sides.
_REACH = 0.04


def blind_images(probe: Probe, threat: ThreatModel) -> Tensor:
    """Images of which every entry of the cross-entropy's gradient is 0 or NaN at a random point of the ball, (N,)."""
    generators = image_generators(probe.seed, range(len(probe)), "blind")
    points = threat.sample(probe.pixels, generators)
    blind = []
    for batch, labels in zip(points.split(probe.batch_size), probe.labels.split(probe.batch_size), strict=True):
        leaf = batch.detach().requires_grad_(True)
        loss = functional.cross_entropy(probe.logits_fn(leaf).float(), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
        blind.append(~(gradient.abs() > 0).flatten(1).any(1).cpu())
    return torch.cat(blind)


@dataclass(frozen=True)
class Slopes:
    """What autograd says about the margin's slope, against what a small step does.

    Attributes:
        unusable: (N,), bool: the gradient of the margin is zero everywhere, or not finite.
        random_disagreement, gradient_disagreement: (N,), float64, in [0, 2]: Σ|observed − predicted| over
            Σ max(|observed|, |predicted|) of the change along random directions, and along the gradient; 0 where both
            agree, 1 where a change is predicted and none happens.
    """

    unusable: Tensor
    random_disagreement: Tensor
    gradient_disagreement: Tensor


def slopes(probe: Probe) -> Slopes:
    """Compare the derivative of the margin along directions with central differences.

    A layer that rounds has a zero gradient; one with a straight-through gradient, and one that adds noise, has a
    gradient that no small step bears out.
    """
    batches = [_batch_slopes(probe, start) for start in range(0, len(probe), probe.batch_size)]
    unusable, random, along = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Slopes(unusable, random, along)


def _batch_slopes(probe: Probe, start: int) -> tuple[Tensor, Tensor, Tensor]:
    batch = slice(start, start + probe.batch_size)
    labels = probe.labels[batch]
    points = _REACH + (1 - 2 * _REACH) * probe.pixels[batch]
    with torch.no_grad():
        logits = probe.logits_fn(points).float()
    spread = finite(logits).std(1)
    rivals = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)

    def lead(images: Tensor) -> Tensor:
        """How far one fixed wrong class is ahead of the true one: unlike the margin, it has no kink."""
        found = probe.logits_fn(images)
        return (found.gather(1, rivals[:, None]) - found.gather(1, labels[:, None])).squeeze(1)

    leaf = points.requires_grad_(True)
    (gradient,) = torch.autograd.grad(lead(leaf).sum(), leaf)
    slope = gradient.detach().cpu().float().flatten(1)
    unusable = ~(slope.isfinite().all(1) & (slope != 0).any(1))
    slope[unusable] = 0
    generators = image_generators(probe.seed, range(start, start + len(labels)), "directions")

    def disagreement(directions: Iterable[Tensor]) -> Tensor:
        """Σ|observed − predicted| / Σ max(|observed|, |predicted|) over directions (B, D) of largest entry 1, (B,)."""
        apart, size = torch.zeros(len(labels), dtype=torch.float64), torch.zeros(len(labels), dtype=torch.float64)
        for direction in directions:
            rise = (slope * direction).sum(1, dtype=torch.float64)
            length = (_CHANGE * spread / rise.abs()).clamp(max=_REACH)
            step = (length[:, None] * direction).reshape(points.shape).to(points)
            with torch.no_grad():
                ahead, behind = (finite(lead(points.detach() + sign * step)) for sign in (1, -1))
            observed, predicted = ahead - behind, 2 * length * rise
            apart += (observed - predicted).abs()
            size += torch.maximum(observed.abs(), predicted.abs())
        return apart / size.clamp_min(torch.finfo(size.dtype).tiny)

    drawn = (
        torch.stack([torch.randn(slope.shape[1], generator=generator) for generator in generators]).sign()
        for _ in range(RANDOM_DIRECTIONS)
    )
    steepest = slope / slope.abs().amax(1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
    return unusable, disagreement(drawn), disagreement([steepest])
