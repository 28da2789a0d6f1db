"""The A/B test: two models on the same images, figure by figure, corrected for how many figures there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from adsr_hf.decision.arms import Arm, Member, check_same_conditions
from adsr_hf.decision.deltas import Delta, delta_of, higher_is_better, run_delta, verdict_of
from adsr_hf.decision.differences import Scope
from adsr_hf.decision.latency import LatencyPair, measure_latency
from adsr_hf.evaluation.classes import majority_of
from adsr_hf.evaluation.figure_names import (
    CLEAN,
    EXPECTED_ROBUSTNESS_FIGURES,
    attacked_name,
    class_figure,
    figure_kind,
)
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.vectors import ERROR_RATES, figure_vector
from adsr_hf.measures.statistics import holm
from adsr_hf.records.sentences import Recorded, sentence

NOISE_FIGURES = ("noise/accuracy", "noise/flip_rate", "noise/output_stability")
_CLASS_FIGURES = ("class_accuracy", "class_robust_accuracy")

SCOPE_WORDS: dict[Scope, str] = {
    "other runs": "Better and worse hold for other images and other seeds.",
    "other runs of the candidate": "Better and worse hold for other images and other seeds of the candidate, against "
    "this one run of the current model.",
    "other runs of the current model": "Better and worse hold for other images and other seeds of the current model, "
    "of this one run of the candidate.",
    "these runs": "Better and worse hold for other images with these two runs only, not for other seeds.",
}


@dataclass(frozen=True)
class Comparison:
    """What the candidate changes.

    Attributes:
        candidate, current: names of the arms.
        deltas: every figure that both measured.
        not_compared: figures that could not be compared, each with the reason.
        latency: of both networks, measured in turn; None where it was not asked for or not possible.
        images: number of images.
        scope: for which other runs better and worse hold too.
        majority_class, majority_share: the most frequent class of the images, and the accuracy of always saying it.
        not_beaten: for each side the conditions (``"clean"`` or a threat) under which one of its runs is not shown to
            be more accurate than that.
    """

    candidate: str
    current: str
    deltas: tuple[Delta, ...]
    not_compared: dict[str, Recorded]
    latency: LatencyPair | None
    images: int
    scope: Scope
    majority_class: str
    majority_share: float
    not_beaten: dict[str, list[str]]

    def delta(self, name: str) -> Delta | None:
        """The delta of one figure, or None."""
        return next((delta for delta in self.deltas if delta.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for comparison.json."""
        return {
            "schema_version": 1,
            "kind": "comparison",
            "candidate": self.candidate,
            "current": self.current,
            "images": self.images,
            "deltas": [delta.as_dict() for delta in self.deltas],
            "not_compared": self.not_compared,
            "latency": None if self.latency is None else self.latency.as_dict(),
            "scope": self.scope,
            "majority": {
                "class": self.majority_class,
                "share": self.majority_share,
                "not_beaten": self.not_beaten,
            },
        }


def compare(candidate: Arm, current: Arm, *, latency: bool = True, latency_bound: float | None = None) -> Comparison:
    """Compare two arms that were measured on the same images under the same threats and attacks.

    Intervals and tests carry the images, and the seeds of each side that has several
    (:mod:`adsr_hf.decision.differences`). p-values are Holm-corrected in three families, since each answers a question
    of its own: the figures of all images, the classes one by one (so that many classes do not hide the average), and
    the error rates of two classes, which say once more what their accuracies say.

    Args:
        candidate: the model that might replace the current one.
        current: the model in use.
        latency: measure the inference time of both networks, in turn, in this process.
        latency_bound: of the ratio of both times; they are measured until it is clear on which side of it that lies.

    Raises:
        RecordsError: when the conditions differ; it says which.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from adsr_hf.attacks import PixelSpace
        >>> from adsr_hf.decision.arms import read_arm
        >>> from adsr_hf.evaluation import Plan, evaluate
        >>> from transformers import ResNetConfig, ResNetForImageClassification
        >>> rows = [{"pixel_values": torch.rand(3, 32, 32), "labels": index % 2} for index in range(4)]
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("new", "old"):
        ...         model = ResNetForImageClassification(ResNetConfig(hidden_sizes=[8], depths=[1], num_labels=2))
        ...         place = Path(folder) / name
        ...         _ = evaluate(model, rows, Plan([]), pixel_space=PixelSpace((0.0,), (1.0,)), folder=place)
        ...     new, old = (read_arm([str(Path(folder) / name)]) for name in ("new", "old"))
        ...     comparison = compare(new, old, latency=False)
        >>> comparison.delta("accuracy").verdict
        'no evidence'
    """
    check_same_conditions(candidate.members[0], current.members[0])
    deltas, missing = _per_image(candidate, current)
    for name, found in _per_run(candidate, current).items():
        if found is None:
            missing[name] = sentence("not_compared.no_run_record")
        else:
            deltas.append(found)
    pair = None
    if latency:
        try:
            pair = measure_latency(candidate.members[0], current.members[0], bound=latency_bound)
        except ValueError as error:
            missing["latency_ratio"] = str(error)
    else:
        missing["latency_ratio"] = sentence("not_compared.not_asked_for")
    majority = majority_of(candidate.members[0].records)
    return Comparison(
        candidate.name,
        current.name,
        tuple(corrected(deltas)),
        missing,
        pair,
        candidate.members[0].records.images,
        deltas[0].scope,
        majority["class"],
        majority["share"],
        {"candidate": not_beaten(candidate), "current": not_beaten(current)},
    )


def not_beaten(arm: Arm) -> list[str]:
    """Conditions (``"clean"`` or a threat) under which a run is not shown to beat the most frequent class."""
    beaten = [majority_of(member.records)["beaten"] for member in arm.members]
    return [condition for condition in beaten[0] if not all(conditions[condition] for conditions in beaten)]


def _per_image(candidate: Arm, current: Arm) -> tuple[list[Delta], dict[str, Recorded]]:
    records = candidate.members[0].records
    threats = records.threats
    names = ["accuracy", *(name for name in EXPECTED_ROBUSTNESS_FIGURES if figure_vector(records, name) is not None)]
    for threat in threats:
        names.append(f"{threat}/robust_accuracy")
        # After the last attack an image stands against all of them: that figure is there already.
        names += [f"{threat}/{attack}/robust_accuracy" for attack in records.attacks[:-1]]
    names += [*NOISE_FIGURES, "brier_score", "ece", "ece_after_temperature"]
    names += [f"{threat}/robust_ece" for threat in threats]
    found = {name: delta_of(name, candidate, current) for name in names}
    missing: dict[str, Recorded] = {
        name: sentence("not_compared.not_measured") for name, delta in found.items() if delta is None
    }
    for threat in threats:
        missing[f"{threat}/{records.attacks[-1]}/robust_accuracy"] = sentence(
            "not_compared.by_definition", figure=f"{threat}/robust_accuracy"
        )
    # Classes without an image, and error rates where no class is called positive, are told by the evaluation.
    found |= {name: delta_of(name, candidate, current) for name in class_figure_names(records)}
    return [delta for delta in found.values() if delta is not None], missing


def class_figure_names(records: EvaluationRecords) -> list[str]:
    """Accuracy of every class, and the error rates of two: clean, then under each threat."""
    conditions = [CLEAN, *records.threats]
    classes = records.summary["model"]["class_names"]
    return [
        *(class_figure(name, condition) for condition in conditions for name in classes),
        *(attacked_name(rate, condition) for condition in conditions for rate in ERROR_RATES),
    ]


def _per_run(candidate: Arm, current: Arm) -> dict[str, Delta | None]:
    """Figures of the training runs, the drop from best to last robust accuracy and throughput; None where unknown."""
    result: dict[str, Delta | None] = {}
    readers = {"best_to_last_gap": _gap, "training_images_per_second": lambda member: member.images_per_second}
    for name, read in readers.items():
        candidate_values, current_values = ([read(member) for member in arm.members] for arm in (candidate, current))
        values = (
            [value for value in candidate_values if value is not None],
            [value for value in current_values if value is not None],
        )
        if len(values[0]) < len(candidate_values) or len(values[1]) < len(current_values):
            result[name] = None
        else:
            result[name] = run_delta(name, *values)
    return result


def _gap(member: Member) -> float | None:
    return None if member.overfitting is None else float(member.overfitting["gap"])


def corrected(deltas: Sequence[Delta]) -> list[Delta]:
    """The deltas with Holm's correction, in the families that :func:`compare` names, and with their verdicts."""
    families: dict[str, list[int]] = {}
    for index, delta in enumerate(deltas):
        if delta.p_value is not None:
            families.setdefault(_family(delta.name), []).append(index)
    adjusted = {
        index: p_value
        for members in families.values()
        for index, p_value in zip(members, holm([deltas[member].p_value or 0.0 for member in members]), strict=True)
    }
    return [
        replace(delta, adjusted_p_value=p_value, verdict=verdict_of(delta.name, delta.interval, p_value))
        for delta, p_value in ((delta, adjusted.get(index)) for index, delta in enumerate(deltas))
    ]


def _family(name: str) -> str:
    kind = figure_kind(name)
    if kind in _CLASS_FIGURES:
        return "classes"
    return "error rates" if kind.removeprefix("robust_") in ERROR_RATES else "figures"


def is_of_class(name: str) -> bool:
    """Whether a figure is of one class's images."""
    return _family(name) != "figures"


def in_words(delta: Delta) -> str:
    """One plain sentence."""
    shares = delta.name != "training_images_per_second"
    scale, unit = (100, "points") if shares else (1, "images/s")
    low, high = (scale * end for end in delta.interval)
    p_value = "" if delta.adjusted_p_value is None else f", p = {delta.adjusted_p_value:.2g} after Holm ({delta.test})"
    wanted = "higher" if higher_is_better(delta.name) else "lower"
    levels = ""
    if delta.calibrated_levels is not None:
        candidate_values, current_values = (scale * level for level in delta.calibrated_levels)
        levels = f" (calibrated models: {candidate_values:.1f} and {current_values:.1f}), without bias"
    return (
        f"{delta.name}: {scale * delta.candidate:.1f} against {scale * delta.current:.1f}{levels}, "
        f"{scale * delta.delta:+.1f} {unit} [{low:+.1f}, {high:+.1f}], {wanted} is better: {delta.verdict}{p_value}"
    )
