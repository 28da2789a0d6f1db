"""What comparisons, gate and studies promise, by simulation of runs and images.

With R repetitions a rate has a standard error of √(p (1 − p) / R); bounds are the promise and three such errors. Each
slow test names its own.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from scipy import special, stats

from adsr_hf.decision.deltas import Delta
from adsr_hf.decision.differences import Difference, calibration_difference, mean_difference
from adsr_hf.decision.sample_size import needed_to_decide
from adsr_hf.measures.debiased_calibration import DebiasedCalibration
from adsr_hf.measures.statistics import holm, paired_share_interval

Random = np.random.Generator


def allowed(rate: float, repetitions: int) -> float:
    return rate + 3 * (rate * (1 - rate) / repetitions) ** 0.5


def arm(random: Random, hardness: np.ndarray, runs: int, spread: float, share: float = 0.6) -> np.ndarray:
    """(runs, N) outcomes of a method whose runs' accuracies scatter by ``spread`` points around ``share``.

    An image's outcome is three parts in five its hardness for all, one part the method's, one part the run's own.
    """
    threshold = stats.norm.ppf(share)
    images = len(hardness)
    shifts = random.standard_normal((runs, 1)) * spread / 100 / stats.norm.pdf(threshold)
    own = random.standard_normal((1, images)) * 0.2**0.5 + random.standard_normal((runs, images)) * 0.2**0.5
    return (threshold + shifts + hardness * 0.6**0.5 + own > 0).astype(float)


def difference(
    random: Random, images: int, runs: tuple[int, int], spreads: tuple[float, float], gain: float = 0.0
) -> Difference:
    hardness = random.standard_normal(images)
    return mean_difference(
        arm(random, hardness, runs[0], spreads[0], 0.6 + gain), arm(random, hardness, runs[1], spreads[1])
    )


def rate_of(happens: Callable[[Random], bool], repetitions: int) -> float:
    random = np.random.default_rng(repetitions)
    return sum(happens(random) for _ in range(repetitions)) / repetitions


@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_a_few_repetitions_with_three_seeds_call_equal_methods_equal(spread: float) -> None:
    rate = rate_of(lambda random: difference(random, 200, (3, 3), (spread, spread)).p_value < 0.05, 200)
    assert rate <= allowed(0.05, 200)


@pytest.mark.slow
@pytest.mark.parametrize("spreads", [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (0, 2), (0, 4)])
@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (4, 4), (2, 5), (3, 5), (8, 8)])
def test_a_difference_of_equal_methods_is_found_in_5_of_100_cases(
    runs: tuple[int, int], spreads: tuple[float, float]
) -> None:
    """Singly, and at the level that remains after Holm over ten figures; standard errors 0.4 and 0.13 points."""
    random = np.random.default_rng(0)
    p_values = np.array([difference(random, 300, runs, spreads).p_value for _ in range(3000)])
    assert (p_values < 0.05).mean() <= allowed(0.05, 3000)
    assert (p_values < 0.005).mean() <= allowed(0.005, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0, 2, 4])
def test_five_arms_equal_to_the_baseline_get_some_mark_in_5_of_100_tables(spread: float) -> None:
    """Three seeds, four figures an arm, all independent: the hardest case. Standard error 0.7 points."""

    def marked(random: Random) -> bool:
        p_values = []
        for _ in range(4):
            hardness = random.standard_normal(300)
            baseline = arm(random, hardness, 3, spread)
            p_values += [mean_difference(arm(random, hardness, 3, spread), baseline).p_value for _ in range(5)]
        return min(holm(p_values)) < 0.05

    assert rate_of(marked, 1000) <= allowed(0.05, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0, 1, 2, 4])
def test_intervals_over_images_and_seeds_hold_the_true_gain(spread: float) -> None:
    """A gain of 5 points, three seeds a side; standard error 0.5 points. Runs' scatter shifts no mean by a point."""
    gains = stats.norm.expect(
        lambda x: stats.norm.cdf(stats.norm.ppf(0.65) + x * spread / 100 / stats.norm.pdf(stats.norm.ppf(0.65)))
    ) - stats.norm.expect(
        lambda x: stats.norm.cdf(stats.norm.ppf(0.6) + x * spread / 100 / stats.norm.pdf(stats.norm.ppf(0.6)))
    )

    def missed(random: Random) -> bool:
        low, high = difference(random, 300, (3, 3), (spread, spread), 0.05).interval
        return not low <= gains <= high

    assert rate_of(missed, 2000) <= allowed(0.05, 2000)


# Shares of images that only the candidate has right, or only the current model, and numbers of images.
NEARLY_EQUAL = [
    *((0.002, 0.004, 300), (0.002, 0.004, 1000), (0.002, 0.002, 500), (0.002, 0.002, 2000), (0.01, 0.03, 555)),
    *((0.05, 0.052, 500), (0.1, 0.12, 276), (0.0, 0.02, 300), (0.0, 0.004, 1000)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("gained", "lost", "images"), NEARLY_EQUAL)
def test_a_model_at_the_bound_of_the_gate_passes_in_5_of_200_cases(gained: float, lost: float, images: int) -> None:
    """One run a side. The lower limit lies above the true difference in 2.5%; where hardly any image is discordant the
    steps of the counts leave up to 3.5%. Standard error 0.16 points."""
    random = np.random.default_rng(1)
    counts = random.multinomial(images, [gained, lost, 1 - gained - lost], 10_000)
    limits: dict[tuple[int, int], float] = {}
    passed = 0
    for only_new, only_old, _ in counts.tolist():
        key = only_new, only_old
        if key not in limits:
            limits[key] = paired_share_interval(*key, images)[0]
        passed += limits[key] > gained - lost
    assert passed / 10_000 <= allowed(0.035, 10_000)


def model(random: Random, images: np.ndarray, bias: float, scale: float, shift: float) -> DebiasedCalibration:
    """One network: confidences and outcomes share what is hard about the (2, N) images; too sure by ``shift``."""
    hardness, luck = images
    confidence = 0.2 + 0.8 * special.expit(bias + scale * (0.8 * hardness + 0.6 * random.standard_normal(len(luck))))
    chance = np.clip(confidence - shift, 0, 1)
    right = stats.norm.cdf(0.8 * luck + 0.6 * random.standard_normal(len(luck))) < chance
    return DebiasedCalibration.of([(torch.from_numpy(confidence), torch.from_numpy(confidence - right))])


# Bias and scale of the confidences' logits.
UNSURE, SPREAD, SHARP, SHARPER = (-1.0, 0.7), (0.5, 1.0), (2.5, 2.0), (6.0, 2.0)


def of_calibration(
    random: Random, images: int, first: Sequence[float], second: Sequence[float], shifts: tuple[float, float]
) -> Difference:
    drawn = random.standard_normal((2, images))
    return calibration_difference(
        [model(random, drawn, first[0], first[1], shifts[0])], [model(random, drawn, second[0], second[1], shifts[1])]
    )


@pytest.mark.slow
@pytest.mark.parametrize("images", [80, 276, 1000, 5000])
@pytest.mark.parametrize("models", [(UNSURE, SHARP), (SPREAD, SHARP), (SPREAD, SHARPER), (SHARP, SHARPER)])
def test_two_calibrated_models_of_other_sharpness_are_not_told_apart(
    models: tuple[tuple[float, float], tuple[float, float]], images: int
) -> None:
    """Singly, and at the level that remains after Holm over ten figures; standard errors 0.9 and 0.3 points."""
    random = np.random.default_rng(images)
    p_values = np.array([of_calibration(random, images, *models, (0, 0)).p_value for _ in range(600)])
    assert (p_values < 0.05).mean() <= allowed(0.05, 600)
    assert (p_values < 0.005).mean() <= allowed(0.005, 600)


@pytest.mark.slow
@pytest.mark.parametrize("images", [276, 1000])
@pytest.mark.parametrize("shifts", [(0.05, 0.0), (0.15, 0.1), (0.05, -0.05), (0.15, -0.1)])
def test_a_model_at_the_bound_of_the_gate_for_ece_passes_in_5_of_100_cases(
    shifts: tuple[float, float], images: int
) -> None:
    """``maximum_loss: {ece: 0.05}`` and a candidate just that much worse; standard error 0.8 points."""
    random = np.random.default_rng(images)
    loss = abs(shifts[0]) - abs(shifts[1])
    passed = [of_calibration(random, images, SPREAD, SPREAD, shifts).interval[1] < loss for _ in range(800)]
    assert np.mean(passed) <= allowed(0.05, 800)


@pytest.mark.slow
@pytest.mark.parametrize("spreads", [(0.0, 0.0), (0.02, 0.02), (0.03, 0.0)])
def test_seeds_of_equally_miscalibrated_methods_are_not_told_apart(spreads: tuple[float, float]) -> None:
    """Three seeds a side, too sure by 15 points on average; standard error 0.9 points."""
    random = np.random.default_rng(3)

    def found() -> float:
        drawn = random.standard_normal((2, 400))
        sides = [
            [model(random, drawn, *sharpness, 0.15 + spread * random.standard_normal()) for _ in range(3)]
            for sharpness, spread in zip((UNSURE, SPREAD), spreads, strict=True)
        ]
        return calibration_difference(*sides).p_value

    assert np.mean([found() < 0.05 for _ in range(600)]) <= allowed(0.05, 600)


def decided(random: Random, images: int, runs: int, spread: float, gain: float) -> bool:
    low, high = difference(random, images, (runs, runs), (spread, spread), gain).interval
    return low > 0 or high < 0


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "gain"), [(0.5, 0.05), (1.0, 0.06), (2.0, 0.05), (4.0, 0.08)])
def test_what_is_asked_for_decides_four_times_in_five(spread: float, gain: float) -> None:
    """Asked with the gain and the scatters as they are, so that no luck of a first sample enters: 0.8, give or take.

    The standard error of the rate is 2 points. More runs than there were also average what a run and an image have
    together, which the number asked for does not count on, so that it may decide more often.
    """
    random = np.random.default_rng(4)
    variance = (spread / 100) ** 2
    samples = [difference(random, 300, (3, 3), (0, 0), gain) for _ in range(300)]
    noise = float(np.mean([one.run_noises for one in samples]))
    half = (1.96**2 * np.var([one.delta for one in samples]) + 2 * stats.t.isf(0.025, 2) ** 2 * variance / 3) ** 0.5
    delta = Delta(
        *("accuracy", 0.6 + gain, 0.6, gain, (gain - half, gain + half), "", 0.5, 300, (None, None), "other runs"),
        (3, 3),
        (variance, variance),
        (noise, noise),
    )
    images, seeds = needed_to_decide(delta, 0.0)
    rate = np.mean([decided(random, images or 300, seeds or 3, spread, gain) for _ in range(400)])
    assert 0.74 <= rate <= 0.97
