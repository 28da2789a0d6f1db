"""The calibration error without bias: by hand, against the definition, and at its edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adsr_hf.measures.debiased_calibration import BINS, DebiasedCalibration, confidence_gap


def of(confidence: np.ndarray, right: np.ndarray) -> DebiasedCalibration:
    scores = torch.from_numpy(np.asarray(confidence, dtype=np.float64))
    return DebiasedCalibration.of([(scores, scores - torch.from_numpy(np.asarray(right, dtype=np.float64)))])


def drawn(seed: int, images: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    confidence = 0.3 + 0.7 * generator.beta(2, 1.5, images)
    return confidence, generator.random(images) < confidence - shift


def test_the_squared_error_is_the_u_statistic_where_confidences_imply_no_more_variance() -> None:
    """One bin of constant confidence c = 0.95, of which half are right: the sum over pairs of different images."""
    right = np.arange(400) % 2
    gaps = 0.95 - right
    pairs = (gaps.sum() ** 2 - (gaps**2).sum()) / (400 * 399)
    # The sample's variance is shrunk by four images of what the confidence implies.
    variance = (399 * gaps.var(ddof=1) + 4 * 0.95 * 0.05) / 403
    expected = gaps.mean() ** 2 - variance / 400
    error = of(np.full(400, 0.95), right)
    assert error.root_mean_square**2 == pytest.approx(expected, rel=1e-9)
    assert error.root_mean_square**2 == pytest.approx(pairs, abs=1e-5)


def test_its_expectation_is_the_squared_gap_of_every_bin() -> None:
    """5,000 draws of 60 images whose true chances are known; the value's own expectation is far above the truth."""
    generator = np.random.default_rng(0)
    confidence, _ = drawn(1, 60)
    chance = np.clip(confidence - 0.1, 0, 1)
    index = np.ceil(confidence * BINS).astype(int)
    truth = sum((confidence - chance)[index == one].sum() ** 2 / (index == one).sum() for one in np.unique(index)) / 60
    errors = [of(confidence, generator.random(60) < chance) for _ in range(5000)]
    # Without the cut at 0, and with the variances as they are.
    shown = [error._shown - error._noise(0.0)[2] for error in errors]
    assert np.mean(shown) == pytest.approx(truth, abs=0.1 * truth)
    assert np.mean([error.value for error in errors]) > 1.4 * np.sqrt(truth)


@pytest.mark.parametrize("images", [5, 80, 1000])
def test_the_calibrated_level_is_the_mean_error_of_calibrated_models(images: int) -> None:
    generator = np.random.default_rng(3)
    confidence, right = drawn(images, images)
    index = np.ceil(confidence * BINS).astype(int)
    values = [
        np.abs(np.bincount(index, weights=confidence - (generator.random(images) < confidence))).sum() / images
        for _ in range(3000)
    ]
    error = 4 * np.std(values) / 3000**0.5
    assert of(confidence, right).calibrated_level == pytest.approx(np.mean(values), abs=error + 0.002)


def test_a_model_without_errors_is_not_certain_to_be_calibrated() -> None:
    """Eighty right answers at full confidence: an error of some percent would have been missed (Clopper-Pearson)."""
    error = of(np.ones(80), np.ones(80))
    assert error.value == error.calibrated_level == error.root_mean_square == 0
    low, high = error.interval
    assert low == 0
    assert 1 - 0.025 ** (1 / 80) <= high < 0.08


def test_one_error_too_few_among_confident_images_is_no_evidence() -> None:
    """The sample's variance is 0 here, so that any interval built on it alone would exclude 0."""
    low, _ = of(np.full(80, 0.985), np.ones(80)).interval
    assert low == 0


def test_limits_invert_the_noncentral_chi_square() -> None:
    error = of(*drawn(4, 500, shift=0.15))
    scale, degrees, _ = error._noise(0.0)
    low, _ = error.limits(1.96)
    assert stats.ncx2.sf(error._shown / scale, degrees, low**2 / scale) == pytest.approx(stats.norm.sf(1.96), rel=1e-6)


def test_many_images_reach_the_normal_tail_without_a_step() -> None:
    """On both sides of where the root of the noncentral chi-square is taken for normal."""
    widths = []
    for images in (6000, 7000, 8000, 9000, 10_000):
        confidence = np.full(images, 0.9)
        low, high = of(confidence, np.arange(images) % 10 < 3).limits(1.96)
        widths.append((high - low) * images**0.5)
        assert low < 0.6 < high
    assert max(widths) == pytest.approx(min(widths), rel=0.01)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 120), shift=st.floats(0, 0.3))
def test_limits_hold_the_estimate_and_widen_with_the_quantile(seed: int, images: int, shift: float) -> None:
    error = of(*drawn(seed, images, shift))
    before = (error.root_mean_square, error.root_mean_square)
    for quantile in (0.5, 1.96, 3.0, 5.0):
        low, high = error.limits(quantile)
        assert 0 <= low <= before[0] + 1e-9
        assert high >= before[1] - 1e-9
        before = low, high
    assert 0 <= error.interval[0] <= error.value + 1e-12
    assert 0 <= error.calibrated_level <= 1


def test_two_classes_are_one_twice() -> None:
    """The second column's gaps are the first's, turned: averaging both must not pass for twice the evidence."""
    generator = np.random.default_rng(5)
    first = torch.from_numpy(generator.random(300))
    gap = first - torch.from_numpy((generator.random(300) < 0.5).astype(float))
    one, both = DebiasedCalibration.of([(first, gap)]), DebiasedCalibration.of([(first, gap), (1 - first, -gap)])
    assert both.value == pytest.approx(one.value, rel=0.05)
    assert both.limits(1.96) == pytest.approx(one.limits(1.96), rel=0.05)


def test_the_gap_is_of_the_class_that_is_predicted() -> None:
    scores, gap = confidence_gap(np.log([[0.7, 0.3], [0.2, 0.8]]), np.array([1, 1]))
    assert scores.tolist() == pytest.approx([0.7, 0.8])
    assert gap.tolist() == pytest.approx([0.7, -0.2])
