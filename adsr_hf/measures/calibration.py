"""How well a classifier's confidence matches how often it is right.

Every function takes tensors on any device, computes on the CPU in float64 and returns plain Python numbers.
Confidence is the highest probability of a row, and the prediction is where it stands.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Binning = Literal["equal_width", "equal_mass"]
BINNINGS: tuple[str, ...] = get_args(Binning)

# A float32 or float16 softmax sums to 1 within this; logits and independent sigmoids do not.
ROW_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence falls into one interval: one bar of a reliability diagram.

    Attributes:
        lower, upper: ends of the interval, confidences in [0, 1]; see :func:`reliability_bins` for which belong to it.
        count: number of images.
        accuracy: share of them that are classified rightly, in [0, 1]; nan where count is 0.
        confidence: their mean confidence, in [0, 1]; nan where count is 0.
    """

    lower: float
    upper: float
    count: int
    accuracy: float
    confidence: float


def reliability_bins(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "equal_width"
) -> list[ReliabilityBin]:
    """Sort images into intervals of confidence (Guo et al. 2017, arXiv 1706.04599, section 2), lowest first.

    With ``"equal_width"`` the intervals are (m / bins, (m + 1) / bins], as in the paper, and the first includes 0: a
    confidence of exactly 1 is in the last. (torchmetrics has [m / bins, (m + 1) / bins) and one more bin for exactly
    1.) Confidences are compared with the edges in float32. With ``"equal_mass"`` (Nguyen & O'Connor 2015, arXiv
    1508.05154) the intervals are [lower, upper), the last includes its upper end, and they hold as equal numbers of
    images as equal confidences allow, which are never parted.

    Args:
        probabilities: (N, K), float, each row summing to 1.
        labels: (N,), integer, in [0, K).
        bins: number of intervals, at least 1.
        binning: ``"equal_width"`` or ``"equal_mass"``.

    Raises:
        ValueError: for shapes that do not fit, no images, rows that are not probabilities, labels outside [0, K),
            fewer than one bin, or an unknown binning.

    Example:
        >>> import torch
        >>> sure, unsure = reliability_bins(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0]), bins=2)[::-1]
        >>> (sure.count, sure.accuracy, round(sure.confidence, 2)), unsure.count
        ((2, 0.5, 0.75), 0)
    """
    probabilities, labels = _check_probabilities(probabilities), checked_labels(labels, probabilities.shape)
    confidence, prediction = probabilities.max(1)
    edges, index = _assignment(bins, binning)(confidence, bins)
    size = len(edges) - 1
    count = torch.bincount(index, minlength=size)
    accuracy = torch.bincount(index, weights=(prediction == labels).double(), minlength=size) / count
    mean = torch.bincount(index, weights=confidence, minlength=size) / count
    columns = (edges[:-1], edges[1:], count, accuracy, mean)
    return [ReliabilityBin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "equal_width"
) -> float:
    """Mean gap between accuracy and confidence over bins, weighted by images: in [0, 1], 0 where they agree.

    Naeini et al. 2015 (AAAI); Guo et al. 2017 (arXiv 1706.04599), equation 3: Σ_m |B_m| / N · |acc(B_m) − conf(B_m)|.
    ``"equal_width"`` equals torchmetrics' ``MulticlassCalibrationError(norm="l1")`` where no confidence is exactly 1
    or on another edge between bins.

    Args and errors: those of :func:`reliability_bins`.

    Example:
        >>> import torch
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> round(expected_calibration_error(probabilities, torch.tensor([0, 1])), 3)
        0.4
    """
    filled = [
        entry for entry in reliability_bins(probabilities, labels, bins=bins, binning=binning) if entry.count > 0
    ]
    gaps = math.fsum(entry.count * abs(entry.accuracy - entry.confidence) for entry in filled)
    return gaps / len(labels)


def classwise_calibration_error(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "equal_width"
) -> float:
    """Mean over classes of the gap between a class's probability and its frequency, in [0, 1]; lower is better.

    Kull et al. 2019 (arXiv 1910.12656), equation 3: all K probabilities of an image count, not the highest alone.

    Args and errors: those of :func:`reliability_bins`.

    Example:
        >>> import torch
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> round(classwise_calibration_error(probabilities, torch.tensor([0, 1])), 3)
        0.4
    """
    probabilities, labels = _check_probabilities(probabilities), checked_labels(labels, probabilities.shape)
    assign = _assignment(bins, binning)
    gaps = probabilities - functional.one_hot(labels, probabilities.shape[1])
    sums = [
        torch.bincount(assign(p.contiguous(), bins)[1], weights=g)
        for p, g in zip(probabilities.T, gaps.T, strict=True)
    ]
    return math.fsum(float(total.abs().sum()) for total in sums) / gaps.numel()


def mean_confidence(probabilities: Tensor) -> float:
    """Mean of the rows' highest probabilities, in [1 / K, 1].

    Args:
        probabilities: (N, K), float, each row summing to 1.

    Raises:
        ValueError: for a shape that does not fit, no images, or rows that are not probabilities.

    Example:
        >>> import torch
        >>> round(mean_confidence(torch.tensor([[0.9, 0.1], [0.3, 0.7]])), 3)
        0.8
    """
    return _check_probabilities(probabilities).amax(1).mean().item()


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Mean squared distance between probabilities and one-hot labels, in [0, 2]; lower is better.

    Brier 1950, *Verification of forecasts expressed in terms of probability*: summed over the classes.

    Args:
        probabilities: (N, K), float, each row summing to 1.
        labels: (N,), integer, in [0, K).

    Raises:
        ValueError: for shapes that do not fit, no images, rows that are not probabilities, or labels outside [0, K).

    Example:
        >>> import torch
        >>> brier_score(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
        0.5
    """
    probabilities, labels = _check_probabilities(probabilities), checked_labels(labels, probabilities.shape)
    one_hot = functional.one_hot(labels, probabilities.shape[1])
    return (probabilities - one_hot).square().sum(1).mean().item()


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Mean of −log softmax(logits)[label], in nats, at least 0; lower is better.

    Args:
        logits: (N, K), float, finite.
        labels: (N,), integer, in [0, K).

    Raises:
        ValueError: for shapes that do not fit, no images, logits that are not finite, or labels outside [0, K).

    Example:
        >>> import torch
        >>> round(negative_log_likelihood(torch.tensor([[0.0, 0.0]]), torch.tensor([0])), 4)
        0.6931
    """
    logits, labels = checked_logits(logits), checked_labels(labels, logits.shape)
    return functional.cross_entropy(logits, labels).item()


def _equal_width(confidence: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Edges of the bins, ascending float64, and each image's bin, (N,)."""
    edges = torch.arange(bins + 1, dtype=torch.float64) / bins
    # In float32 a softmax taken in float32 and one taken in float64 fall into the same bin, also on an edge.
    index = torch.bucketize(confidence.float(), edges.float()) - 1
    # A probability of exactly 0, and one that rounding put above 1.
    return edges, index.clamp(0, bins - 1)


def _equal_mass(confidence: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Edges of the bins, ascending float64, and each image's bin, (N,)."""
    ascending = confidence.sort().values
    lower = ascending[torch.arange(bins) * len(ascending) // bins]
    return torch.cat([lower, ascending[-1:]]), torch.bucketize(confidence, lower[1:].contiguous(), right=True)


# Edges of the bins, ascending, and each image's bin, from confidences (N,) float64 and a number of bins.
ASSIGNMENTS: dict[str, Callable[[Tensor, int], tuple[Tensor, Tensor]]] = {
    "equal_width": _equal_width,
    "equal_mass": _equal_mass,
}


def _assignment(bins: int, binning: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    if bins < 1:
        raise ValueError(f"bins={bins} must be at least 1; 15 is the usual number")
    if binning not in ASSIGNMENTS:
        raise ValueError(f"binning={binning!r} is unknown; choose one of {', '.join(BINNINGS)}")
    return ASSIGNMENTS[binning]


def _check_rows(name: str, rows: Tensor) -> Tensor:
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(
            f"{name} must have shape (N, K) with one column for each of K >= 2 classes, got {tuple(rows.shape)}; "
            "write the two classes of a binary problem as two columns"
        )
    if len(rows) == 0:
        raise ValueError(f"{name} of shape {tuple(rows.shape)} holds no images; pass at least one")
    if not rows.is_floating_point():
        raise ValueError(f"{name} must be float, got {rows.dtype}; class indices are passed as labels")
    # Accelerators without float64 exist, and a number is wanted on the host in the end.
    rows = rows.detach().cpu().double()
    finite = rows.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ValueError(f"{name} must be finite, got {rows[row].tolist()} in row {row}; look for overflow before it")
    return rows


def checked_logits(logits: Tensor) -> Tensor:
    """``logits`` as float64 on the CPU."""
    return _check_rows("logits", logits)


def _check_probabilities(probabilities: Tensor) -> Tensor:
    """``probabilities`` as float64 on the CPU."""
    rows = _check_rows("probabilities", probabilities)
    wrong = (rows < 0).any(1) | ((rows.sum(1) - 1).abs() > ROW_SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"probabilities must be at least 0 and sum to 1 in each row, got a minimum of {rows[row].min():.4g} and a "
            f"sum of {rows[row].sum():.4g} in row {row}; pass logits.float().softmax(1), not logits"
        )
    return rows


def checked_labels(labels: Tensor, shape: torch.Size) -> Tensor:
    """``labels`` as int64 on the CPU, for rows of ``shape`` (N, K)."""
    number, classes = shape
    if tuple(labels.shape) != (number,):
        raise ValueError(f"labels must have shape ({number},), one for each row, got {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integer class indices, got {labels.dtype}; pass labels.long()")
    labels = labels.detach().cpu().long()
    low, high = torch.stack(torch.aminmax(labels)).tolist()
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels must lie in [0, {classes}) for {classes} classes, got values from {low} to {high}; "
            "check that the dataset's labels are those of the model"
        )
    return labels
