"""One compared figure: its difference, how sure it is, and what that means."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adsr_hf.decision.arms import Arm, Member
from adsr_hf.evaluation.figure_names import figure_kind
from adsr_hf.evaluation.intervals import binned_gap, confidence_gap
from adsr_hf.evaluation.statistics import (
    RESAMPLES,
    mcnemar_exact,
    percentile_interval,
    resampling_weights,
    sign_flip_test,
)
from adsr_hf.evaluation.vectors import figure_vector

Verdict = Literal["better", "worse", "no evidence"]
LEVEL = 0.05
_LOWER_IS_BETTER = (
    *("ece", "ece_after_temperature", "brier_score", "flip_rate", "missed_rate", "false_alarm_rate"),
    *("best_to_last_gap", "latency_ratio"),
)
Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Delta:
    """The candidate's figure minus the current model's.

    Attributes:
        name: of the figure, as in a summary.
        candidate, current: values, averaged over seeds.
        delta: candidate − current.
        interval: paired bootstrap, 95%, over images (and over seeds where an arm has several).
        test: how the p-value was found.
        p_value: None where there is no test.
        adjusted_p_value: after Holm's correction over all figures of the comparison.
        verdict: better or worse only if the interval excludes 0 and the adjusted p-value is below 0.05.
        images: number of images.
        spread: standard deviation over seeds of candidate and current; None for one seed.
    """

    name: str
    candidate: float
    current: float
    delta: float
    interval: tuple[float, float]
    test: str
    p_value: float | None
    images: int
    spread: tuple[float | None, float | None]
    adjusted_p_value: float | None = None
    verdict: Verdict = "no evidence"

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"interval": list(self.interval), "spread": list(self.spread)}


def higher_is_better(name: str) -> bool:
    """Which direction of a figure is the good one."""
    return figure_kind(name).removeprefix("robust_") not in _LOWER_IS_BETTER


def verdict_of(name: str, interval: tuple[float, float], adjusted: float | None) -> Verdict:
    """Better or worse, or no evidence for either."""
    low, high = interval
    if adjusted is None or adjusted >= LEVEL or low <= 0 <= high:
        return "no evidence"
    return "better" if (low > 0) == higher_is_better(name) else "worse"


def resamples_for(tests: int) -> int:
    """Resamples of a bootstrap so many that its smallest p-value survives Holm's correction over ``tests`` tests."""
    return max(RESAMPLES, 100 * tests)


def per_image_delta(name: str, candidate: Arm, current: Arm, *, seed: int) -> Delta | None:
    """Compare a figure that is a mean over images; None where one side did not measure it.

    One run a side: exact McNemar for 0/1 outcomes. Several: a sign-flip test on the differences of each image's mean
    over seeds, since an image that is counted once for each seed would pass for several independent ones.
    """
    mine, theirs = _vectors(name, candidate), _vectors(name, current)
    if mine is None or theirs is None:
        return None
    images = mine.shape[1]
    weights = resampling_weights(images, seed=seed)
    replicates = _drawn(mine @ weights.T / images, seed, 0) - _drawn(theirs @ weights.T / images, seed, 1)
    difference = mine.mean(0) - theirs.mean(0)
    single = len(mine) == len(theirs) == 1
    if single and np.isin(mine, (0, 1)).all() and np.isin(theirs, (0, 1)).all():
        test, p_value = "exact McNemar", mcnemar_exact(int((difference > 0).sum()), int((difference < 0).sum()))
    else:
        test, p_value = "sign flips of each image", sign_flip_test(difference, seed=seed)
    return _delta(name, mine.mean(1), theirs.mean(1), replicates, test, p_value, images)


def calibration_delta(
    name: str, candidate: Arm, current: Arm, *, seed: int, resamples: int = RESAMPLES
) -> Delta | None:
    """Compare an expected calibration error: ``"ece"``, ``"ece_after_temperature"`` or ``"{threat}/robust_ece"``.

    Args:
        resamples: of the bootstrap; no p-value is below 2 / (resamples + 1).
    """
    mine, theirs = _gaps(name, candidate, seed, resamples), _gaps(name, current, seed, resamples)
    if mine is None or theirs is None:
        return None
    replicates = _drawn(mine[1], seed, 0) - _drawn(theirs[1], seed, 1)
    crossed = min((replicates <= 0).sum(), (replicates >= 0).sum())
    p_value = min(1.0, 2 * (int(crossed) + 1) / (len(replicates) + 1))
    images = candidate.members[0].records.images
    return _delta(name, mine[0], theirs[0], replicates, "bootstrap over images", p_value, images)


def run_delta(name: str, candidate: list[float], current: list[float]) -> Delta:
    """Compare a figure that each run has once, such as its training throughput.

    The interval is the range over all pairs of a candidate and a current run, and there is no test: with a handful of
    runs none could find anything.
    """
    mine, theirs = np.array(candidate), np.array(current)
    interval = float(mine.min() - theirs.max()), float(mine.max() - theirs.min())
    delta = float(mine.mean() - theirs.mean())
    test = "none: the interval is the range over pairs of runs"
    return Delta(name, float(mine.mean()), float(theirs.mean()), delta, interval, test, None, 0, _spread(mine, theirs))


def _delta(
    name: str,
    mine: np.ndarray,
    theirs: np.ndarray,
    replicates: np.ndarray,
    test: str,
    p_value: float,
    images: int,
) -> Delta:
    first, second = float(mine.mean()), float(theirs.mean())
    interval = percentile_interval(replicates)
    return Delta(name, first, second, first - second, interval, test, p_value, images, _spread(mine, theirs))


def _spread(mine: np.ndarray, theirs: np.ndarray) -> tuple[float | None, float | None]:
    """Standard deviation over the runs of each side."""
    own, other = (float(one.std(ddof=1)) if len(one) > 1 else None for one in (mine, theirs))
    return own, other


def _drawn(replicates: np.ndarray, seed: int, side: int) -> np.ndarray:
    """Replicates of an arm's mean: its runs are resampled too, (S, R) to (R,)."""
    runs, resamples = replicates.shape
    picks = np.random.default_rng([seed, side, runs]).integers(0, runs, (runs, resamples))
    drawn: np.ndarray = np.take_along_axis(replicates, picks, axis=0).mean(0)
    return drawn


def _vectors(name: str, arm: Arm) -> np.ndarray | None:
    """(S, N) per-image values of a figure, one row for each run."""
    if name == "brier_score":
        return np.stack([_brier(member) for member in arm.members])
    rows = [figure_vector(member.records, name) for member in arm.members]
    found = [row for row in rows if row is not None]
    return np.stack(found) if len(found) == len(rows) else None


def _brier(member: Member) -> np.ndarray:
    logits, labels = member.records.logits("clean").astype(np.float64), member.records.labels
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    probabilities[np.arange(len(labels)), labels] -= 1
    squares: np.ndarray = (probabilities**2).sum(1)
    return squares


def _gaps(name: str, arm: Arm, seed: int, resamples: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Values (S,) and replicates (S, R) of an expected calibration error."""
    threat, _, figure = name.rpartition("/")
    values, replicates = [], []
    for member in arm.members:
        records = member.records
        logits = records.logits(f"{threat}.worst" if threat else "clean").astype(np.float64)
        if figure == "ece_after_temperature":
            if not records.summary["temperature"]:
                return None
            logits = logits / records.summary["temperature"]["value"]
        weights = resampling_weights(records.images, resamples=resamples, seed=seed)
        value, own = binned_gap([confidence_gap(logits, records.labels)], weights)
        values.append(value)
        # A resample's bins are noisier, and its error higher, than the sample's: by the more, the smaller the error.
        replicates.append(own + (value - own.mean()))
    return np.array(values), np.stack(replicates)
