"""The figures of one set of predictions, by hand."""

import math

import pytest
import torch

from adsr_hf.measures.figures import prediction_figures, worst_case_logits

SURE, UNSURE = math.log(9.0), math.log(3.0)  # probabilities 0.9 and 0.75 against a logit of 0
LABELS = torch.tensor([0, 0, 0, 0])
CLEAN = torch.tensor([[SURE, 0.0], [SURE, 0.0], [UNSURE, 0.0], [0.0, SURE]])


def test_clean() -> None:
    """Right at 0.9, 0.9, 0.75 and wrong at 0.9: bins (2/3 against 0.9) × 3/4 and (1 against 0.75) × 1/4."""
    found = prediction_figures(CLEAN, LABELS)
    assert found == pytest.approx(
        {
            "accuracy": 0.75,
            "mean_confidence": (3 * 0.9 + 0.75) / 4,
            "ece": 0.75 * (0.9 - 2 / 3) + 0.25 * 0.25,
            "loss": -(2 * math.log(0.9) + math.log(0.75) + math.log(0.1)) / 4,
        },
        abs=1e-6,
    )


def test_an_image_counts_as_robust_only_if_it_is_right_both_ways() -> None:
    """The third falls to the attack; the fourth was wrong before, and the attack happens to put it right."""
    attacked = torch.tensor([[UNSURE, 0.0], [SURE, 0.0], [0.0, UNSURE], [UNSURE, 0.0]])
    worst = worst_case_logits(CLEAN, attacked, LABELS)
    assert worst.tolist() == [*attacked[:3].tolist(), CLEAN[3].tolist()]
    found = prediction_figures(worst, LABELS)
    assert found["accuracy"] == 0.5
    assert found["mean_confidence"] == pytest.approx((2 * 0.9 + 2 * 0.75) / 4, abs=1e-6)
    # Confidence 0.9: one right of two; 0.75: one right of two.
    assert found["ece"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.25, abs=1e-6)


def test_every_image_has_the_same_weight() -> None:
    whole = prediction_figures(CLEAN, LABELS)["accuracy"]
    parts = (
        prediction_figures(CLEAN[:3], LABELS[:3])["accuracy"],
        prediction_figures(CLEAN[3:], LABELS[3:])["accuracy"],
    )
    assert whole == pytest.approx((3 * parts[0] + parts[1]) / 4)
