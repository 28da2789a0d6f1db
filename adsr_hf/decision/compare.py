"""The A/B test: two models on the same images, figure by figure, corrected for how many figures there are."""

from dataclasses import dataclass, replace
from typing import Any

from adsr_hf.decision.arms import Arm, Member, check_same_conditions
from adsr_hf.decision.deltas import (
    Delta,
    calibration_delta,
    higher_is_better,
    per_image_delta,
    resamples_for,
    run_delta,
    verdict_of,
)
from adsr_hf.decision.latency import LatencyPair, measure_latency
from adsr_hf.evaluation.statistics import holm

NOISE_FIGURES = ("noise/accuracy", "noise/flip_rate", "noise/output_stability")


@dataclass(frozen=True)
class Comparison:
    """What the candidate changes.

    Attributes:
        candidate, current: names of the arms.
        deltas: every figure that both measured.
        not_compared: figures that could not be compared, each with the reason.
        latency: of both networks, measured in turn; None where it was not asked for or not possible.
        images: number of images.
    """

    candidate: str
    current: str
    deltas: tuple[Delta, ...]
    not_compared: dict[str, str]
    latency: LatencyPair | None
    images: int

    def delta(self, name: str) -> Delta | None:
        """The delta of one figure, or None."""
        return next((one for one in self.deltas if one.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for comparison.json."""
        return {
            "schema_version": 1,
            "kind": "comparison",
            "candidate": self.candidate,
            "current": self.current,
            "images": self.images,
            "deltas": [one.as_dict() for one in self.deltas],
            "not_compared": self.not_compared,
            "latency": None if self.latency is None else self.latency.as_dict(),
        }


def compare(
    candidate: Arm, current: Arm, *, latency: bool = True, latency_bound: float | None = None, seed: int = 0
) -> Comparison:
    """Compare two arms that were measured on the same images under the same threats and attacks.

    Intervals are paired bootstraps over images (and over seeds, where an arm has several). p-values are Holm-corrected
    over every figure that has one.

    Args:
        candidate: the model that might replace the current one.
        current: the model in use.
        latency: measure the inference time of both networks, in turn, in this process.
        latency_bound: of the ratio of both times; they are measured until it is clear on which side of it that lies.
        seed: of the bootstrap.

    Raises:
        RecordsError: when the conditions differ; it says which.
    """
    check_same_conditions(candidate.members[0], current.members[0])
    deltas, missing = _per_image(candidate, current, seed)
    for name, found in _per_run(candidate, current).items():
        if isinstance(found, str):
            missing[name] = found
        else:
            deltas.append(found)
    pair = None
    if latency:
        try:
            pair = measure_latency(candidate.members[0], current.members[0], bound=latency_bound)
        except ValueError as error:
            missing["latency_ratio"] = str(error)
    else:
        missing["latency_ratio"] = "not asked for"
    return Comparison(
        candidate.name,
        current.name,
        tuple(_corrected(deltas)),
        missing,
        pair,
        candidate.members[0].records.images,
    )


def _per_image(candidate: Arm, current: Arm, seed: int) -> tuple[list[Delta], dict[str, str]]:
    records = candidate.members[0].records
    means = ["accuracy"]
    calibrations = ["ece", "ece_after_temperature"]
    for threat in records.threats:
        means.append(f"{threat}/robust_accuracy")
        # After the last attack an image stands against all of them: that figure is there already.
        means += [f"{threat}/{attack}/robust_accuracy" for attack in records.attacks[:-1]]
        calibrations.append(f"{threat}/robust_ece")
    means += [*NOISE_FIGURES, "brier_score"]
    found = {name: per_image_delta(name, candidate, current, seed=seed) for name in means}
    resamples = resamples_for(len(means) + len(calibrations))
    for name in calibrations:
        found[name] = calibration_delta(name, candidate, current, seed=seed, resamples=resamples)
    missing = {name: "not measured for both models" for name, delta in found.items() if delta is None}
    for threat in records.threats:
        missing[f"{threat}/{records.attacks[-1]}/robust_accuracy"] = f"it is {threat}/robust_accuracy by definition"
    return [delta for delta in found.values() if delta is not None], missing


def _per_run(candidate: Arm, current: Arm) -> dict[str, Delta | str]:
    """Figures of the training runs: the drop from best to last robust accuracy, and throughput."""
    result: dict[str, Delta | str] = {}
    readers = {"best_to_last_gap": _gap, "training_images_per_second": lambda member: member.images_per_second}
    for name, read in readers.items():
        mine, theirs = ([read(member) for member in arm.members] for arm in (candidate, current))
        values = [one for one in mine if one is not None], [one for one in theirs if one is not None]
        if len(values[0]) < len(mine) or len(values[1]) < len(theirs):
            result[name] = "no run.json that says it beside both records"
        else:
            result[name] = run_delta(name, *values)
    return result


def _gap(member: Member) -> float | None:
    return None if member.overfitting is None else float(member.overfitting["gap"])


def _corrected(deltas: list[Delta]) -> list[Delta]:
    tested = [one for one in deltas if one.p_value is not None]
    adjusted = dict(zip([one.name for one in tested], holm([one.p_value or 0.0 for one in tested]), strict=True))
    result = []
    for one in deltas:
        p_value = adjusted.get(one.name)
        result.append(replace(one, adjusted_p_value=p_value, verdict=verdict_of(one.name, one.interval, p_value)))
    return result


def in_words(delta: Delta) -> str:
    """One plain sentence."""
    shares = delta.name != "training_images_per_second"
    scale, unit = (100, "points") if shares else (1, "images/s")
    low, high = (scale * one for one in delta.interval)
    p_value = "" if delta.adjusted_p_value is None else f", p = {delta.adjusted_p_value:.2g} after Holm ({delta.test})"
    wanted = "higher" if higher_is_better(delta.name) else "lower"
    return (
        f"{delta.name}: {scale * delta.candidate:.1f} against {scale * delta.current:.1f}, "
        f"{scale * delta.delta:+.1f} {unit} [{low:+.1f}, {high:+.1f}], {wanted} is better: {delta.verdict}{p_value}"
    )
