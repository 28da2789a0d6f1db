"""Intervals and tests on per-image values: bootstrap, exact McNemar, sign-flip permutation, Holm."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
Array = NDArray[np.float64]


def resampling_weights(images: int, *, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float32]:
    """How often each image is drawn in each resample of the bootstrap: (resamples, images), rows sum to ``images``.

    Efron 1979. A resample of images with replacement is a multinomial draw of their counts. Any figure that is a
    function of weighted sums over images comes from one matrix product with these.

    Args:
        images: at least 1.
        resamples: at least 1.
        seed: two figures that are to be compared image by image must use the same.

    Raises:
        ValueError: when an argument is outside what is allowed.
    """
    if images < 1 or resamples < 1:
        raise ValueError(f"images={images} and resamples={resamples} must both be at least 1")
    generator = np.random.default_rng([seed, images])
    weights = np.empty((resamples, images), dtype=np.float32)
    for row in weights:
        row[:] = np.bincount(generator.integers(0, images, images), minlength=images)
    return weights


def percentile_interval(replicates: NDArray[np.floating], confidence: float = 0.95) -> tuple[float, float]:
    """The middle ``confidence`` share of bootstrap replicates, (resamples,): (low, high)."""
    low, high = np.quantile(np.asarray(replicates, dtype=np.float64), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def bootstrap_interval(values: Array, weights: NDArray[np.float32], confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean of per-image values.

    Args:
        values: (N,), float; for a paired comparison the differences.
        weights: (resamples, N), from :func:`resampling_weights`.

    Raises:
        ValueError: when the shapes do not fit.
    """
    if values.ndim != 1 or weights.shape[1:] != values.shape:
        raise ValueError(f"values of shape {values.shape} do not fit weights of shape {weights.shape}")
    return percentile_interval(weights @ values / len(values), confidence)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that two classifiers are right equally often, from the images on which they differ.

    McNemar 1947: given their number, each discordant image falls to either side with probability one half.

    Args:
        only_first, only_second: images that only one of the two has right, at least 0.

    Raises:
        ValueError: for a negative count.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"only_first={only_first} and only_second={only_second} must be at least 0")
    total = only_first + only_second
    if total == 0:
        return 1.0
    # Log binomials: 2 ** total overflows a float where a thousand images differ.
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
        for k in range(min(only_first, only_second) + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(one) for one in logs))


def sign_flip_test(differences: Array, *, permutations: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value that paired differences have mean 0: each image's sign is flipped at random.

    Fisher's randomisation test. Valid for differences that are averaged over seeds image by image, where counting
    every seed's image as one more image would not be. The observed arrangement counts as one of the permutations.

    Args:
        differences: (N,), float.
    """
    kept = differences[differences != 0]
    if not len(kept):
        return 1.0
    generator = np.random.default_rng([seed, len(differences)])
    observed = abs(kept.sum())
    reached = 0
    # In blocks: ten thousand rows of ten thousand images would not fit into memory.
    rows = max(1, 5_000_000 // len(kept))
    for start in range(0, permutations, rows):
        signs = generator.integers(0, 2, (min(rows, permutations - start), len(kept)), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ kept) >= observed - 1e-12).sum())
    return (reached + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979: p-values adjusted so that the chance of any false finding in the family stays below the level.

    Args:
        p_values: each in [0, 1].

    Raises:
        ValueError: when one is outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p_values={list(p_values)} must all lie in [0, 1]")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
