"""Intervals and tests against scipy, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from adsr_hf.measures.statistics import (
    bootstrap_interval,
    holm,
    mcnemar_exact,
    paired_share_interval,
    resampling_weights,
)


@settings(deadline=None)
@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_mcnemar_counts_the_ways_to_split_the_discordant_images(first: int, second: int) -> None:
    total = first + second
    ways = sum(math.comb(total, k) for k in range(total + 1) if abs(2 * k - total) >= abs(first - second))
    assert mcnemar_exact(first, second) == pytest.approx(ways / 2**total, rel=1e-9)


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


def by_profile_likelihood(only_first: int, only_second: int, images: int, difference: float) -> float:
    """The score statistic, with the nuisance share found by searching the likelihood rather than from its equation."""
    shares = np.linspace(max(0.0, -difference), (1 - difference) / 2, 400_001)
    likelihood = (
        special.xlogy(only_first, shares + difference)
        + special.xlogy(only_second, shares)
        + special.xlogy(images - only_first - only_second, np.clip(1 - 2 * shares - difference, 0, None))
    )
    share = shares[likelihood.argmax()]
    variance = images * (2 * share + difference - difference**2)
    return float((only_first - only_second - images * difference) / np.sqrt(variance))


@pytest.mark.parametrize("counts", [(12, 2, 50), (3, 0, 40), (0, 5, 60), (40, 41, 300), (1, 1, 8)])
def test_the_paired_interval_ends_where_the_score_test_refuses(counts: tuple[int, int, int]) -> None:
    for end, sign in zip(paired_share_interval(*counts), (1, -1), strict=True):
        assert by_profile_likelihood(*counts, end) == pytest.approx(sign * stats.norm.isf(0.025), abs=2e-3)


def test_the_paired_interval_without_discordant_images_is_not_empty() -> None:
    """By hand: under δ all discordant images are of one side, so that N δ² = z² δ (1 − δ)."""
    z = stats.norm.isf(0.025)
    low, high = paired_share_interval(0, 0, 80)
    assert high == -low == pytest.approx(z**2 / (80 + z**2), rel=1e-4)
    assert paired_share_interval(80, 0, 80)[1] == 1
    assert paired_share_interval(0, 80, 80)[0] == -1
    assert paired_share_interval(80, 0, 80)[0] > 0.9


@given(only_first=st.integers(0, 60), only_second=st.integers(0, 60), others=st.integers(0, 300))
def test_the_paired_interval_holds_the_estimate_and_turns_with_the_sides(
    only_first: int, only_second: int, others: int
) -> None:
    images = only_first + only_second + others + 1
    low, high = paired_share_interval(only_first, only_second, images)
    assert -1 <= low < (only_first - only_second) / images < high <= 1
    assert paired_share_interval(only_second, only_first, images) == pytest.approx((-high, -low))


def test_the_paired_interval_refuses_counts_that_do_not_fit() -> None:
    for counts in ((3, 3, 5), (-1, 0, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match="must be counts"):
            paired_share_interval(*counts)


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
