"""Flip rate and output stability, by hand and for models whose answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from adsr_hf.evaluation.corruptions import KINDS, corrupt
from adsr_hf.evaluation.stability import measure_stability, stability_figures


def measured(logits_fn: object, pixels: Tensor, **settings: object) -> dict[str, np.ndarray]:
    assert callable(logits_fn)
    return measure_stability(
        logits_fn,
        lambda batch: pixels[list(batch)],
        logits_fn(pixels),
        indices=range(len(pixels)),
        seed=0,
        **settings,  # type: ignore[arg-type]
    )


def brightness(pixels: Tensor) -> Tensor:
    mean = pixels.mean(dim=(1, 2, 3))
    return torch.stack([10 * (0.5 - mean), 10 * (mean - 0.5)], dim=1)


def test_a_constant_model_never_flips() -> None:
    columns = measured(lambda x: torch.tensor([[0.0, 1.0, 0.5]]).expand(len(x), 3), torch.rand(5, 1, 8, 8))
    labels = np.array([0, 1, 1, 2, 1])
    figures = stability_figures(columns, labels, np.ones(5, dtype=int))
    assert len(columns) == 3 * len(KINDS) * 5
    assert figures["noise/flip_rate"].sum() == 0
    assert (figures["noise/output_stability"] == 1).all()
    assert figures["noise/accuracy"].mean() == pytest.approx(0.6)


def test_columns_by_hand() -> None:
    pixels = torch.tensor([0.45, 0.30]).reshape(2, 1, 1, 1).expand(2, 1, 8, 8)
    columns = measured(brightness, pixels, kinds=["brightness_up"], severities=[3])
    # Both become 0.15 brighter: 0.60 flips to class 1, 0.45 does not.
    assert columns["noise.brightness_up.3.prediction"].tolist() == [1, 0]
    clean, noisy = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))
    assert columns["noise.brightness_up.3.total_variation"][0] == pytest.approx(clean - noisy, abs=1e-6)
    assert columns["noise.brightness_up.3.confidence"][0] == pytest.approx(1 - noisy, abs=1e-6)
    figures = stability_figures(columns, np.array([0, 0]), np.array([0, 0]))
    assert figures["noise/brightness_up/3/flip_rate"].tolist() == [1.0, 0.0]
    assert figures["noise/brightness_up/3/accuracy"].tolist() == [0.0, 1.0]
    assert figures["noise/output_stability"][0] == pytest.approx(1 - (clean - noisy), abs=1e-6)


def test_columns_do_not_depend_on_the_batch() -> None:
    pixels = torch.rand(7, 1, 8, 8)
    whole = measured(brightness, pixels, kinds=["gaussian_noise", "jpeg"], severities=[1, 5])
    parts = measured(brightness, pixels, kinds=["gaussian_noise", "jpeg"], severities=[1, 5], batch_size=2)
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, parts[name])
    noisy = corrupt(pixels, kind="jpeg", severity=5, indices=range(7), seed=0)
    assert (whole["noise.jpeg.5.prediction"] == brightness(noisy).argmax(1).numpy()).all()


def test_no_noise_no_figures() -> None:
    assert stability_figures({}, np.zeros(3), np.zeros(3)) == {}


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="hold 1 rows for 2 indices"):
        measure_stability(brightness, lambda _: torch.rand(2, 1, 8, 8), torch.zeros(1, 2), indices=[0, 1], seed=0)
    with pytest.raises(ValueError, match="not finite"):
        measured(lambda x: torch.full((len(x), 2), torch.nan), torch.rand(2, 1, 8, 8))
