"""Differences of means and of calibration errors: by hand, and against scipy where one run meets one run."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adsr_hf.decision.differences import calibration_difference, mean_difference, run_difference, scope_of
from adsr_hf.measures.debiased_calibration import DebiasedCalibration
from adsr_hf.measures.statistics import paired_share_interval


def runs(seed: int, number: int, images: int = 200, share: float = 0.6) -> np.ndarray:
    return (np.random.default_rng(seed).random((number, images)) < share).astype(float)


def error(confidence: np.ndarray, right: np.ndarray) -> DebiasedCalibration:
    scores = torch.from_numpy(confidence)
    return DebiasedCalibration.of([(scores, scores - torch.from_numpy(right.astype(float)))])


def test_one_run_against_one_is_exact_for_outcomes_and_a_paired_t_for_the_rest() -> None:
    mine, theirs = runs(0, 1), runs(1, 1, share=0.5)
    found = mean_difference(mine, theirs)
    gained, lost = int((mine > theirs).sum()), int((mine < theirs).sum())
    assert found.p_value == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert found.interval == paired_share_interval(gained, lost, 200)
    values = np.random.default_rng(2).normal(size=(2, 200))
    found = mean_difference(values[:1], values[1:])
    expected = stats.ttest_rel(values[0], values[1])
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.scope == "these runs"


def test_several_runs_by_hand() -> None:
    """Two images that are alike for all runs: no noise of the images, and the runs' variances alone remain."""
    mine = np.array([[1.0, 1.5], [2.0, 2.5], [6.0, 6.5]])
    theirs = np.array([[0.0, 0.5], [0.5, 1.0], [1.0, 1.5], [1.5, 2.0]])
    found = mean_difference(mine, theirs)
    assert found.delta == pytest.approx(3.25 - 1.0)
    # Run means 1.25, 2.25, 6.25 and 0.25, 0.75, 1.25, 1.75.
    assert found.run_variances == pytest.approx((7.0, 5 / 12))
    half = np.sqrt(stats.t.isf(0.025, 2) ** 2 * 7 / 3 + stats.t.isf(0.025, 3) ** 2 * (5 / 12) / 4)
    assert found.interval == pytest.approx((2.25 - half, 2.25 + half))


def test_what_run_and_image_have_together_is_not_counted_as_the_runs() -> None:
    """Runs that do not differ in truth: the estimate of their variance is near 0, whatever the images do to each."""
    generator = np.random.default_rng(0)
    found = [mean_difference(generator.normal(size=(3, 300)), generator.normal(size=(3, 300))) for _ in range(200)]
    raw = 1 / 300
    assert np.mean([one.run_variances for one in found]) < 0.5 * raw
    two = [mean_difference(generator.normal(size=(2, 300)), generator.normal(size=(2, 300))) for _ in range(200)]
    assert np.mean([one.run_variances for one in two]) == pytest.approx(raw, rel=0.25)


def test_a_side_of_one_run_adds_no_seeds() -> None:
    several, one = runs(0, 3), runs(1, 1)
    assert mean_difference(several, one).run_variances[1] is None
    assert mean_difference(several, one).scope == "other runs of the candidate"
    assert mean_difference(one, several).scope == "other runs of the current model"
    assert scope_of(2, 2) == "other runs"


def test_equal_arms_of_several_runs_keep_their_uncertainty() -> None:
    mine = np.repeat(runs(0, 1), 3, axis=0)
    found = mean_difference(mine, mine)
    assert found.p_value == 1
    # Two made-up images of 202 differ, one to each side.
    half = stats.t.isf(0.025, 201) * (2 / 201) ** 0.5 / 202**0.5
    assert found.interval == pytest.approx((-half, half))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), first=st.integers(1, 4), second=st.integers(1, 4), share=st.floats(0.4, 0.7))
def test_the_p_value_is_the_level_at_which_the_interval_leaves_0(
    seed: int, first: int, second: int, share: float
) -> None:
    found = mean_difference(runs(seed, first), runs(seed + 1, second, share=share))
    assert found.interval[0] <= found.delta <= found.interval[1]
    turned = mean_difference(runs(seed + 1, second, share=share), runs(seed, first))
    assert turned.p_value == pytest.approx(found.p_value)
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    if first + second > 2:
        assert (found.p_value < 0.05) == (not found.interval[0] <= 0 <= found.interval[1])


def test_run_figures_have_the_runs_variance_and_no_test() -> None:
    found = run_difference([1.0, 3.0], [5.0])
    half = stats.t.isf(0.025, 1) * (2 / 2) ** 0.5
    assert found.interval == pytest.approx((-3 - half, -3 + half))
    assert found.p_value == 1
    assert run_difference([1.0], [3.0]).interval == (-2, -2)


def test_images_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="not of the same images"):
        mean_difference(runs(0, 1, images=5), runs(0, 1, images=6))


def test_a_clear_miscalibration_is_found_and_its_size_covered() -> None:
    generator = np.random.default_rng(0)
    confidence = 0.4 + 0.6 * generator.random(600)
    good = error(confidence, generator.random(600) < confidence)
    bad = error(confidence, generator.random(600) < np.clip(confidence - 0.2, 0, 1))
    found = calibration_difference([bad], [good])
    assert found.p_value < 1e-4
    assert found.interval[0] < 0.2 < found.interval[1]
    assert found.delta == pytest.approx(bad.root_mean_square - good.root_mean_square)
    turned = calibration_difference([good], [bad])
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=1e-3)
    assert turned.p_value == pytest.approx(found.p_value, rel=0.05)


def test_models_that_are_wrong_in_opposite_ways_are_told_apart_less_surely() -> None:
    """One too sure and one too modest by as much: what raises one error on these images lowers the other."""
    generator = np.random.default_rng(1)
    confidence = np.full(500, 0.7)
    right = generator.random(500) < 0.7
    sure, modest = error(confidence + 0.15, right), error(confidence - 0.15, right)
    alike = error(confidence + 0.16, right)
    against = calibration_difference([sure], [modest]).interval
    together = calibration_difference([sure], [alike]).interval
    assert against[1] - against[0] > 3 * (together[1] - together[0])


def test_seeds_that_differ_in_calibration_widen_the_interval() -> None:
    generator = np.random.default_rng(2)
    confidence = 0.4 + 0.6 * generator.random(800)
    good = [error(confidence, generator.random(800) < confidence) for _ in range(3)]
    shifts = (0.1, 0.2, 0.3)
    unsteady = [error(confidence, generator.random(800) < np.clip(confidence - one, 0, 1)) for one in shifts]
    steady = [error(confidence, generator.random(800) < np.clip(confidence - 0.2, 0, 1)) for _ in range(3)]
    sure, unsure = calibration_difference(steady, good), calibration_difference(unsteady, good)
    assert sure.p_value < 0.005
    assert unsure.p_value > 10 * sure.p_value
    assert unsure.run_variances[0] == pytest.approx(0.1**2, rel=0.4)
    assert unsure.interval[1] - unsure.delta > stats.t.isf(0.025, 2) * 0.08 / 3**0.5


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(2, 6), runs=st.integers(2, 3))
def test_an_interval_of_shares_never_leaves_what_is_possible(seed: int, images: int, runs: int) -> None:
    draw = np.random.default_rng(seed)
    rates = draw.random((2, 1, 1))
    mine, theirs = (draw.random((2, runs, images)) < rates).astype(float)
    found = mean_difference(mine, theirs)
    assert -1 <= found.interval[0] <= found.delta <= found.interval[1] <= 1


def test_a_class_that_one_arm_always_misses_is_cut_at_100_points() -> None:
    always = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    found = mean_difference(np.zeros_like(always), always)
    assert found.interval[0] == -1.0
    assert found.interval[1] < 0
    assert found.p_value < 0.05


def test_a_mean_that_is_no_share_has_no_such_limits() -> None:
    losses = np.array([[0.0, 9.0, 2.0], [8.0, 1.0, 3.0]])
    assert mean_difference(losses, losses[::-1] * 0.5).interval[1] > 1
