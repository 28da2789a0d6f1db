"""The one temperature that held-out images ask for."""

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from adsr_hf.measures.calibration import checked_labels, checked_logits

# Separable or uninformative logits have no best temperature: without bounds the fit would run off to 0 or infinity.
TEMPERATURE_BOUNDS = (0.01, 100.0)


def fit_temperature(logits: Tensor, labels: Tensor, *, weights: Tensor | None = None) -> float:
    """The temperature T in [0.01, 100] at which softmax(logits / T) has the least negative log-likelihood.

    Guo et al. 2017 (arXiv 1706.04599), section 4.2. Fit it on held-out images, never on those it is then measured on.
    No prediction changes. The likelihood is convex in 1 / T, so that a bracketed Newton search on 1 / T finds the one
    minimum, the same on every call.

    Args:
        logits: (N, K), float, finite.
        labels: (N,), integer, in [0, K).
        weights: (N,), float, how much each image counts, at least 0 and not all 0; None = all alike.

    Raises:
        ValueError: for shapes that do not fit, no images, logits that are not finite, labels outside [0, K), or
            weights that are not allowed.

    Warns:
        UserWarning: when the minimum lies at or beyond a bound, which is then returned: at 0.01 the images are
            separated too well to say how sure the model may be; at 100 the logits say nothing about the labels.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
        >>> round(fit_temperature(logits, labels), 2)
        3.64
    """
    logits, labels = checked_logits(logits), checked_labels(labels, logits.shape)
    shares = _shares(weights, len(labels))
    coldest, hottest = TEMPERATURE_BOUNDS
    low, high = 1 / hottest, 1 / coldest
    if _slope_and_curvature(logits, labels, shares, low)[0] >= 0:
        warnings.warn(
            f"the best temperature is at or above {hottest:g}, the highest allowed, which is returned: the logits of "
            f"the {len(labels)} images are right about as often as by chance, or very large; check that logits and "
            "labels belong together",
            stacklevel=2,
        )
        return hottest
    # Saturated, the slope is 0 but for rounding; one misclassified image gives it the size of a gap between logits.
    if _slope_and_curvature(logits, labels, shares, high)[0] <= 1e-14 * logits.abs().max():
        warnings.warn(
            f"the best temperature is at or below {coldest:g}, the lowest allowed, which is returned: of the "
            f"{len(labels)} images (almost) none is misclassified, so that no confidence is too high; fit on more or "
            "harder held-out images",
            stacklevel=2,
        )
        return coldest
    return 1 / _root(lambda inverse: _slope_and_curvature(logits, labels, shares, inverse), low, high)


def _shares(weights: Tensor | None, images: int) -> Tensor:
    """(N,) float64 on the CPU, summing to 1."""
    if weights is None:
        return torch.full((images,), 1 / images, dtype=torch.float64)
    if tuple(weights.shape) != (images,):
        raise ValueError(f"weights must have shape ({images},), one for each row, got {tuple(weights.shape)}")
    weights = weights.detach().cpu().double()
    if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(
            f"weights must be finite and at least 0, and not all 0, got values from {weights.min():.4g} to "
            f"{weights.max():.4g}; leave them out to count all images alike"
        )
    return weights / weights.sum()


def _root(slope_and_curvature: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Where an increasing slope crosses zero between two positive numbers, to 1e-12 of itself."""
    point, step = math.sqrt(low * high), math.inf
    while abs(step) > 1e-12 * point:
        slope, curvature = slope_and_curvature(point)
        low, high = (low, point) if slope > 0 else (point, high)
        newton = -slope / curvature if curvature > 0 else math.inf
        # Newton's steps must halve, or the bracket is halved: no shape of the slope makes the search creep.
        trusted = low <= point + newton <= high and abs(newton) <= abs(step) / 2
        step = newton if trusted else math.sqrt(low * high) - point
        point += step
    return point


def _slope_and_curvature(logits: Tensor, labels: Tensor, shares: Tensor, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log-likelihood with respect to 1 / T, at ``inverse``."""
    probabilities = torch.softmax(logits * inverse, 1)
    expected = (probabilities * logits).sum(1)
    slope = shares @ (expected - logits.gather(1, labels[:, None]).squeeze(1))
    curvature = shares @ (probabilities * (logits - expected[:, None]).square()).sum(1)
    return slope.item(), curvature.item()
