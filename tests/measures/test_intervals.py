"""Calibration figures with intervals: equal to the library's own figures, by hand, and narrower with more images."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from adsr_hf.measures.calibration import (
    brier_score,
    expected_calibration_error,
    mean_confidence,
    negative_log_likelihood,
)
from adsr_hf.measures.debiased_calibration import BINS
from adsr_hf.measures.intervals import Intervals


def drawn(seed: int, images: int = 200, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    logits = generator.normal(size=(images, classes)) * 2
    logits[np.arange(images), labels] += 1.5
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("seed", [0, 1])
def test_values_equal_the_calibration_module_and_torchmetrics(seed: int) -> None:
    logits, labels = drawn(seed)
    figures = {name: entry["value"] for name, entry in Intervals(200, 0).calibration(logits, labels).items()}
    probabilities, targets = torch.softmax(torch.from_numpy(logits).double(), 1), torch.from_numpy(labels)
    theirs = MulticlassCalibrationError(5, n_bins=BINS, norm="l1")(probabilities, targets)
    assert figures["ece"] == pytest.approx(float(theirs), abs=1e-6)
    assert figures["ece_equal_mass"] == pytest.approx(
        expected_calibration_error(probabilities, targets, binning="equal_mass"), abs=1e-9
    )
    assert figures["brier_score"] == pytest.approx(brier_score(probabilities, targets), abs=1e-12)
    assert figures["mean_confidence"] == pytest.approx(mean_confidence(probabilities), abs=1e-12)
    assert figures["negative_log_likelihood"] == pytest.approx(
        negative_log_likelihood(torch.from_numpy(logits), targets), abs=1e-9
    )


def test_classwise_ece_by_hand() -> None:
    """Three images, two classes: each class's probabilities lie in their own bins."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    figures = Intervals(3, 0).calibration(np.log(probabilities), np.array([0, 1, 1]))
    # Class 0: |0.9 + 0.9 - 1| + |0.2| = 1.0; class 1: |0.1 + 0.1 - 1| + |0.8 - 1| = 1.0; over 3 images, mean 1 / 3.
    assert figures["classwise_ece"]["value"] == pytest.approx(1 / 3)


def test_intervals_hold_the_value_and_narrow_with_images() -> None:
    widths = []
    for images in (100, 1600):
        figures = Intervals(images, 0).calibration(*drawn(3, images=images))
        for entry in figures.values():
            assert entry["interval"][0] <= entry["value"] <= entry["interval"][1]
            assert entry["images"] == images
        low, high = figures["brier_score"]["interval"]
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.35)
