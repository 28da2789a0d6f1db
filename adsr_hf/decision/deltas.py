"""One compared figure: its difference, how sure it is, and what that means."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from adsr_hf.decision.arms import Arm, Member
from adsr_hf.decision.differences import (
    SIGNIFICANCE_LEVEL,
    Difference,
    Scope,
    calibration_difference,
    mean_difference,
    run_difference,
)
from adsr_hf.evaluation.figure_names import figure_kind
from adsr_hf.evaluation.vectors import figure_vector
from adsr_hf.measures.debiased_calibration import DebiasedCalibration, confidence_gap

Verdict = Literal["better", "worse", "no evidence"]
_CALIBRATION_ERRORS = ("ece", "robust_ece", "ece_after_temperature")
_LOWER_IS_BETTER = (
    *("ece", "ece_after_temperature", "brier_score", "flip_rate", "missed_rate", "false_alarm_rate"),
    *("best_to_last_gap", "latency_ratio"),
)


@dataclass(frozen=True)
class Delta:
    """The candidate's figure minus the current model's.

    Attributes:
        name: of the figure, as in a summary.
        candidate, current: values, averaged over seeds.
        delta: candidate − current; of an expected calibration error, whose value is biased, the difference of the root
            mean squared errors without bias, which may have another sign than that of the values.
        interval: of ``delta``, 95%, over images, and over seeds on each side that has several.
        test: how the p-value was found.
        p_value: None where there is no test.
        images: number of images; 0 for a figure of the training runs.
        spread: standard deviation over seeds of candidate and current; None for one seed.
        scope: for which other runs it holds too; ``"these runs"``: for none.
        seeds: number of runs of candidate and current.
        run_variances: of candidate and current, variance of one run's figure between runs; None for one seed.
        run_noises: of candidate and current, what the images add to that variance, and was taken off.
        calibrated_levels: of an expected calibration error, what each side would show if it were calibrated.
        adjusted_p_value: after Holm's correction over its family.
        verdict: better or worse only if the interval excludes 0 and the adjusted p-value is below 0.05.
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
    scope: Scope
    seeds: tuple[int, int]
    run_variances: tuple[float | None, float | None]
    run_noises: tuple[float, float] = (0.0, 0.0)
    calibrated_levels: tuple[float, float] | None = None
    adjusted_p_value: float | None = None
    verdict: Verdict = "no evidence"

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def higher_is_better(name: str) -> bool:
    """Which direction of a figure is the good one."""
    return figure_kind(name).removeprefix("robust_") not in _LOWER_IS_BETTER


def is_calibration_error(name: str) -> bool:
    """Whether a figure is an expected calibration error, whose value is biased."""
    return figure_kind(name) in _CALIBRATION_ERRORS


def verdict_of(name: str, interval: tuple[float, float], adjusted: float | None) -> Verdict:
    """Better or worse, or no evidence for either."""
    low, high = interval
    if adjusted is None or adjusted >= SIGNIFICANCE_LEVEL or low <= 0 <= high:
        return "no evidence"
    return "better" if (low > 0) == higher_is_better(name) else "worse"


def delta_of(name: str, candidate: Arm, current: Arm) -> Delta | None:
    """Compare a figure of a summary; None where one side did not measure it."""
    compared = _calibration_delta if is_calibration_error(name) else _mean_delta
    return compared(name, candidate, current)


def run_delta(name: str, candidate: list[float], current: list[float]) -> Delta:
    """Compare a figure that each training run has once, such as its throughput: over runs, without a test."""
    candidate_values, current_values = np.array(candidate), np.array(current)
    return _delta(name, candidate_values, current_values, run_difference(candidate, current), images=0, tested=False)


def _mean_delta(name: str, candidate: Arm, current: Arm) -> Delta | None:
    candidate_values, current_values = _vectors(name, candidate), _vectors(name, current)
    if candidate_values is None or current_values is None:
        return None
    return _delta(
        name,
        candidate_values.mean(1),
        current_values.mean(1),
        mean_difference(candidate_values, current_values),
        images=candidate_values.shape[1],
    )


def _calibration_delta(name: str, candidate: Arm, current: Arm) -> Delta | None:
    candidate_values, current_values = _errors(name, candidate), _errors(name, current)
    if candidate_values is None or current_values is None:
        return None
    sides = (candidate_values, current_values)
    values = [np.array([error.value for error in side]) for side in sides]
    levels = [float(np.mean([error.calibrated_level for error in side])) for side in sides]
    delta = _delta(
        name,
        values[0],
        values[1],
        calibration_difference(candidate_values, current_values),
        images=candidate_values[0].images,
    )
    return replace(delta, calibrated_levels=(levels[0], levels[1]))


def _delta(
    name: str,
    candidate_values: np.ndarray,
    current_values: np.ndarray,
    found: Difference,
    *,
    images: int,
    tested: bool = True,
) -> Delta:
    return Delta(
        name,
        float(candidate_values.mean()),
        float(current_values.mean()),
        found.delta,
        found.interval,
        found.test,
        found.p_value if tested else None,
        images,
        _spread(candidate_values, current_values),
        found.scope,
        (len(candidate_values), len(current_values)),
        found.run_variances,
        found.run_noises,
    )


def _spread(candidate_values: np.ndarray, current_values: np.ndarray) -> tuple[float | None, float | None]:
    """Standard deviation over the runs of each side."""
    candidate_spread, current_spread = (
        float(value.std(ddof=1)) if len(value) > 1 else None for value in (candidate_values, current_values)
    )
    return candidate_spread, current_spread


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


def _errors(name: str, arm: Arm) -> list[DebiasedCalibration] | None:
    """Of each run its expected calibration error, one that :func:`is_calibration_error` names."""
    threat = name.removesuffix("/robust_ece") if name.endswith("/robust_ece") else ""
    found = []
    for member in arm.members:
        records = member.records
        logits = records.logits(f"{threat}.worst" if threat else "clean").astype(np.float64)
        if name == "ece_after_temperature":
            if not records.summary["temperature"]:
                return None
            logits = logits / records.summary["temperature"]["value"]
        found.append(DebiasedCalibration.of([confidence_gap(logits, records.labels)]))
    return found
