"""How many images or seeds decide: by hand. That they do so four times in five is simulated."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from adsr_hf.decision.deltas import Delta
from adsr_hf.decision.sample_size import MOST_IMAGES, MOST_RUNS, needed_to_decide

POWER = (stats.norm.isf(0.025) + stats.norm.isf(0.2)) / stats.norm.isf(0.025)


def delta(
    gain: float, half: float, *, variances: tuple[float | None, float | None] = (None, None), runs: int = 1
) -> Delta:
    return Delta(
        "accuracy",
        0.8 + gain,
        0.8,
        gain,
        (gain - half, gain + half),
        "t over images and runs",
        0.5,
        400,
        (None, None),
        "these runs" if runs == 1 else "other runs",
        (runs, runs),
        variances,
    )


def test_images_shrink_the_interval_by_the_root_of_their_number() -> None:
    images, seeds = needed_to_decide(delta(0.03, 0.05), 0.01)
    assert images == pytest.approx(400 * (POWER * 0.05 / 0.02) ** 2, abs=1)
    assert seeds is None
    assert needed_to_decide(delta(0.03, 0.05), 0.05) == (images, None)


def test_only_the_images_part_shrinks() -> None:
    """Three runs a side, of a variance that leaves part of the distance to the images."""
    variance = (0.002**2, 0.002**2)
    t, power = stats.t.isf(0.025, 2), (stats.t.isf(0.025, 2) + stats.t.isf(0.2, 2)) / stats.t.isf(0.025, 2)
    shown, promised = 2 * t**2 * variance[0] / 3, 2 * (power * t) ** 2 * variance[0] / 3
    half = (0.04**2 + shown) ** 0.5
    images, seeds = needed_to_decide(delta(0.03, half, variances=variance, runs=3), 0.01)
    assert images == pytest.approx(400 * (POWER * 0.04) ** 2 / (0.02**2 - promised), abs=2)
    assert seeds is None


def test_where_the_runs_alone_reach_the_bound_more_runs_are_asked_for() -> None:
    variance = (0.02**2, 0.02**2)
    t = stats.t.isf(0.025, 2)
    half = (0.003**2 + 2 * t**2 * variance[0] / 3) ** 0.5
    images, seeds = needed_to_decide(delta(0.03, half, variances=variance, runs=3), 0.0)
    assert images is None
    assert seeds is not None
    assert 5 < seeds < 20

    def reach(number: int) -> float:
        quantiles = stats.t.isf(0.025, number - 1) + stats.t.isf(0.2, number - 1)
        return float((2 * quantiles**2 * 0.02**2 / number + (POWER * 0.003) ** 2) ** 0.5)

    assert reach(seeds) < 0.03 <= reach(seeds - 1)


def test_runs_and_images_may_both_be_too_few() -> None:
    variance = (0.02**2, 0.02**2)
    half = (0.04**2 + 2 * stats.t.isf(0.025, 2) ** 2 * variance[0] / 3) ** 0.5
    images, seeds = needed_to_decide(delta(0.02, half, variances=variance, runs=3), 0.0)
    assert images is not None
    assert seeds is not None
    assert images > 400
    assert seeds > 3


def test_what_nothing_decides_is_capped() -> None:
    assert needed_to_decide(delta(0.01, 0.05), 0.01) == (MOST_IMAGES, None)
    _, seeds = needed_to_decide(delta(0.0001, 0.2, variances=(0.01, 0.01), runs=3), 0.0)
    assert seeds == MOST_RUNS
    assert needed_to_decide(delta(0.01, 0.2, variances=(0.01, 0.01), runs=3), 0.01) == (MOST_IMAGES, MOST_RUNS)


def test_what_luck_makes_of_no_variance_between_runs_is_counted_on() -> None:
    """Runs that do not differ are seen to differ, by what the images do to each: three runs by 0.37 of that."""
    noise = 0.02**2
    quiet = delta(0.03, 0.04, variances=(0.0, 0.0), runs=3)
    expected = stats.chi2.expect(lambda x: max(x / 2 - 1, 0), args=(2,))
    assert expected == pytest.approx(np.exp(-1), rel=1e-3)
    images, seeds = needed_to_decide(replace(quiet, run_noises=(noise, noise)), 0.0)
    width = stats.t.isf(0.025, 2) + stats.t.isf(0.2, 2)
    squared = (POWER * 0.04) ** 2 + 2 * width**2 * expected * noise / 3
    assert images == pytest.approx(400 * squared / 0.03**2, rel=0.01)
    assert seeds is None
