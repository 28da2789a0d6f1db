"""Stability under noise: does the prediction, and the whole output, stay what it was on the clean image?"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.evaluation.corruptions import KINDS, corrupt
from adsr_hf.evaluation.severities import SEVERITIES


def measure_stability(
    logits_fn: LogitsFunction,
    pixels_of: Callable[[Sequence[int]], Tensor],
    clean_logits: Tensor,
    *,
    indices: Sequence[int],
    seed: int,
    batch_size: int = 100,
    kinds: Sequence[str] = KINDS,
    severities: Sequence[int] = SEVERITIES,
) -> dict[str, np.ndarray]:
    """Predictions under noise, as the columns of the records; call it in whatever blocks suit, rows in order.

    Args:
        logits_fn: maps (B, C, H, W) float32 pixels in [0, 1] to (B, K) logits; the model must be in eval mode.
        pixels_of: gives the clean pixels (B, C, H, W) in [0, 1] of some of ``indices``, on the model's device.
        clean_logits: (N, K), float: the model's logits on the clean images, in the order of ``indices``.
        indices: (N,) positions of the images in their data set; they key the noise.
        seed: of the noise, at least 0.
        batch_size: images taken together; the noise does not depend on it.

    Returns:
        for each kind K and severity S the arrays, N long, ``noise.K.S.prediction`` (int64), ``noise.K.S.confidence``
        (float64) and ``noise.K.S.total_variation`` (float64, in [0, 1]: half the L1 distance between the softmax on
        the clean and on the noisy image).

    Raises:
        ValueError: for an argument outside what is allowed, or logits that are not finite.
    """
    if len(clean_logits) != len(indices):
        raise ValueError(f"clean_logits hold {len(clean_logits)} rows for {len(indices)} indices; one for each image")
    clean = torch.softmax(clean_logits.double(), dim=1).cpu()
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(indices), batch_size):
        batch = list(indices[start : start + batch_size])
        pixels, reference = pixels_of(batch), clean[start : start + batch_size]
        for kind in kinds:
            for severity in severities:
                noisy = corrupt(pixels, kind=kind, severity=severity, indices=batch, seed=seed)
                with torch.no_grad():
                    logits = logits_fn(noisy).double().cpu()
                if not torch.isfinite(logits).all():
                    raise ValueError(f"the model's logits under {kind} of severity {severity} are not finite")
                for name, values in _columns(logits, reference).items():
                    parts.setdefault(f"noise.{kind}.{severity}.{name}", []).append(values)
    return {name: torch.cat(values).numpy() for name, values in parts.items()}


def stability_figures(
    columns: Mapping[str, np.ndarray], labels: np.ndarray, clean_predictions: np.ndarray
) -> dict[str, np.ndarray]:
    """Figure name to its per-image values, (N,) float64, of which the figure is the mean.

    Args:
        columns: what :func:`measure_stability` returned, or those columns of the records (others are ignored).
        labels, clean_predictions: (N,), int64.

    Returns:
        ``noise/K/S/accuracy`` and ``noise/K/S/flip_rate`` (0 or 1 an image) for every pair that was measured, and over
        all pairs ``noise/accuracy``, ``noise/flip_rate`` and ``noise/output_stability`` (1 − total variation); empty
        when no noise was measured.
    """
    vectors: dict[str, np.ndarray] = {}
    distances: list[np.ndarray] = []
    for name, values in columns.items():
        if not name.startswith("noise.") or not name.endswith(".prediction"):
            continue
        kind, severity = name.split(".")[1:3]
        vectors[f"noise/{kind}/{severity}/accuracy"] = (values == labels).astype(np.float64)
        vectors[f"noise/{kind}/{severity}/flip_rate"] = (values != clean_predictions).astype(np.float64)
        distances.append(columns[f"noise.{kind}.{severity}.total_variation"])
    if not vectors:
        return {}
    for figure in ("accuracy", "flip_rate"):
        matching = [vector for name, vector in vectors.items() if name.endswith(f"/{figure}")]
        vectors[f"noise/{figure}"] = np.mean(matching, axis=0)
    vectors["noise/output_stability"] = 1 - np.mean(distances, axis=0)
    return vectors


def _columns(logits: Tensor, clean: Tensor) -> dict[str, Tensor]:
    probabilities = torch.softmax(logits, dim=1)
    confidence, prediction = probabilities.max(1)
    return {
        "prediction": prediction,
        "confidence": confidence,
        "total_variation": (probabilities - clean).abs().sum(1) / 2,
    }
