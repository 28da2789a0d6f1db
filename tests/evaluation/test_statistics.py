"""Intervals and tests against scipy, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adsr_hf.evaluation.statistics import (
    bootstrap_interval,
    holm,
    mcnemar_exact,
    resampling_weights,
    sign_flip_test,
)


@settings(deadline=None)
@given(first=st.integers(0, 400), second=st.integers(0, 400))
def test_mcnemar_equals_scipys_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_does_not_overflow_and_refuses_negative_counts() -> None:
    assert 0 < mcnemar_exact(1900, 2100) < 0.01
    with pytest.raises(ValueError, match="only_first=-1"):
        mcnemar_exact(-1, 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bootstrap_equals_scipys(seed: int) -> None:
    values = np.random.default_rng(seed).exponential(size=300)
    ours = bootstrap_interval(values, resampling_weights(300, resamples=4000, seed=seed))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=seed).confidence_interval
    width = theirs.high - theirs.low
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), atol=0.07 * width)


def test_weights_are_counts_of_draws() -> None:
    weights = resampling_weights(50, resamples=200, seed=3)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights >= 0).all()
    assert weights.var(axis=0).mean() == pytest.approx(1 - 1 / 50, abs=0.1)
    assert (weights == resampling_weights(50, resamples=200, seed=3)).all()
    assert (weights != resampling_weights(50, resamples=200, seed=4)).any()


def test_the_bootstrap_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    weights = resampling_weights(120, seed=0)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(generator.normal(0.3, 1, 120), weights)
        covered += low <= 0.3 <= high
    assert 0.90 <= covered / 300 <= 0.98


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_equal_scipys_permutation_test(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.15, 1, 60).round(1)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=seed
    ).pvalue
    assert sign_flip_test(differences, seed=seed) == pytest.approx(expected, abs=0.015)


def test_sign_flips_of_equal_models_find_nothing() -> None:
    assert sign_flip_test(np.zeros(30)) == 1.0
    p_values = [sign_flip_test(np.random.default_rng(s).normal(size=40), permutations=500, seed=s) for s in range(200)]
    assert np.mean(np.array(p_values) < 0.05) < 0.1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match="must all lie in"):
        holm([1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(high >= low for high, low in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        bootstrap_interval(np.zeros(3), resampling_weights(4))
    with pytest.raises(ValueError, match="images=0"):
        resampling_weights(0)
