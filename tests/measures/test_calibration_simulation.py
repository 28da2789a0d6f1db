"""How often the interval of an expected calibration error holds the truth, by simulation.

With R repetitions a rate has a standard error of √(p (1 − p) / R): at 2,000 and p = 0.05 half a point. Bounds are the
promise and three such errors.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special

from adsr_hf.measures.debiased_calibration import BINS, DebiasedCalibration

Array = np.ndarray
CONFIDENCES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "spread": lambda random, images: 1 / 3 + 2 / 3 * random.beta(2, 1.5, images),
    "sharp": lambda random, images: 1 / 3 + 2 / 3 * random.beta(8, 0.6, images),
    "sharper": lambda random, images: 0.5 + 0.5 * random.beta(20, 0.3, images),
    "saturated": lambda random, images: 1 - 0.5 * 10 ** random.uniform(-6, -1, images),
    "unsure": lambda random, images: 0.1 + 0.3 * random.beta(2, 2, images),
}
CHANCES: dict[str, Callable[[Array], Array]] = {
    "calibrated": lambda confidence: confidence,
    "too sure by 4.7 points": lambda confidence: np.clip(confidence - 0.047, 0, 1),
    "too sure by 15 points": lambda confidence: np.clip(confidence - 0.15, 0, 1),
    "too modest by 4.7 points": lambda confidence: np.clip(confidence + 0.047, 0, 1),
    "temperature 1.6": lambda confidence: special.expit(special.logit(np.clip(confidence, 1e-9, 1 - 1e-9)) / 1.6),
}


def missed(confidences: str, chances: str, images: int, repetitions: int) -> float:
    """How often the interval does not hold the error that these confidences truly have in these bins."""
    random = np.random.default_rng(images)
    count = 0
    for _ in range(repetitions):
        confidence = CONFIDENCES[confidences](random, images)
        chance = CHANCES[chances](confidence)
        gap = confidence - (random.random(images) < chance)
        low, high = DebiasedCalibration.of([(torch.from_numpy(confidence), torch.from_numpy(gap))]).interval
        index = np.ceil(confidence.astype(np.float32) * BINS).astype(int)
        truth = np.abs(np.bincount(index, weights=confidence - chance)).sum() / images
        count += not low <= truth + 1e-12 <= high + 2e-12
    return count / repetitions


def allowed(rate: float, repetitions: int) -> float:
    return rate + 3 * (rate * (1 - rate) / repetitions) ** 0.5


@pytest.mark.parametrize("chances", ["calibrated", "too sure by 4.7 points"])
def test_a_few_repetitions_hold_the_truth(chances: str) -> None:
    assert missed("spread", chances, 80, 300) <= allowed(0.05, 300)


@pytest.mark.slow
@pytest.mark.parametrize("images", [80, 276, 500, 1000])
@pytest.mark.parametrize("chances", list(CHANCES))
@pytest.mark.parametrize("confidences", list(CONFIDENCES))
def test_the_interval_holds_the_true_error_in_95_of_100_cases(confidences: str, chances: str, images: int) -> None:
    """The standard error of a measured rate is 0.5 points."""
    assert missed(confidences, chances, images, 2000) <= allowed(0.05, 2000)
