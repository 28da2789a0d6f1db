"""Per-image values behind the figures, from the rows alone."""

import numpy as np

from adsr_hf.attacks import ThreatModel
from adsr_hf.evaluation.figure_names import CLEAN, EXPECTED_ROBUSTNESS_FIGURES, read_class_figure
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.stability import stability_figures

# Of the two classes where one is called positive: its images that are missed, and the other's that are taken for it.
ERROR_RATES = ("missed_rate", "false_alarm_rate")


def figure_vector(records: EvaluationRecords, name: str) -> np.ndarray | None:
    """Per-image values, (n,) float64, of which a figure is the mean; None where it is no such mean (ECE).

    These are of all images by ascending index, but of the images of one class where a figure is one class's
    (``class_accuracy/…``, ``missed_rate``): two evaluations of the same images give values of the same ones. None too
    where no image is of that class, and where a threat, attack, class or noise was not measured.
    """
    if name == "accuracy":
        return right_under(records, CLEAN).astype(np.float64)
    if name in EXPECTED_ROBUSTNESS_FIGURES:
        return expected_robustness(records, name.partition("/")[0])
    of_class = read_class_figure(name, records.threats)
    if of_class is not None:
        return _of_class(records, *of_class)
    threat, _, figure = name.rpartition("/")
    if figure.removeprefix("robust_") in ERROR_RATES:
        return _errors(records, threat, figure)
    if figure == "robust_accuracy" and threat in records.threats:
        return right_under(records, threat).astype(np.float64)
    if figure == "robust_accuracy":
        threat, _, attack = threat.rpartition("/")
        return _stands_under(records, threat, attack)
    if name.startswith("noise/"):
        columns = {key: records.column(key) for key in records.table.column_names if key.startswith("noise.")}
        return stability_figures(columns, records.labels, records.column("clean.prediction")).get(name)
    return None


def predictions_under(records: EvaluationRecords, condition: str) -> np.ndarray:
    """(N,) int64: predicted classes on clean images (``"clean"``), or on the worst found inside a threat."""
    return records.column("clean.prediction" if condition == CLEAN else f"{condition}.worst.prediction")


def right_under(records: EvaluationRecords, condition: str) -> np.ndarray:
    """(N,) bool: right on the clean image, and inside a threat also on the worst image found."""
    labels = records.labels
    right: np.ndarray = (records.column("clean.prediction") == labels) & (
        predictions_under(records, condition) == labels
    )
    return right


def expected_robustness(records: EvaluationRecords, norm: str) -> np.ndarray | None:
    """Each image's share of the radii from 0 to the largest one measured at which it stands; None below two radii.

    Ngnawé et al., ICLR 2026 (arXiv 2509.23325) average accuracy over radii from 0 to the target. With radii
    0 = r_0 < r_1 < … < r_m of one norm, r_0 the clean image, and s_k = 1 where an image is right at every radius up to
    r_k, an image has Σ_k (r_{k+1} − r_k) (s_k + s_{k+1}) / (2 r_m): the trapezoidal rule. What fools the model within
    a radius lies within every larger one, so that an image which an attack at a larger radius missed counts as fallen.

    Args:
        records: of an evaluation, under threats of any norms.
        norm: whose radii are averaged over.

    Returns:
        (N,), float64, in [0, 1].
    """
    threats = [ThreatModel.parse(threat) for threat in records.threats]
    chosen = sorted((threat for threat in threats if threat.norm == norm and threat.epsilon > 0), key=_radius)
    if len(chosen) < 2:
        return None
    radii = np.array([0.0, *map(_radius, chosen)])
    right = np.stack([right_under(records, condition) for condition in (CLEAN, *map(str, chosen))])
    stands = np.logical_and.accumulate(right).astype(np.float64)
    value: np.ndarray = np.trapezoid(stands, radii, axis=0) / radii[-1]
    return value


def _radius(threat: ThreatModel) -> float:
    return threat.epsilon


def _of_class(records: EvaluationRecords, condition: str, class_name: str) -> np.ndarray | None:
    names = records.summary["model"]["class_names"]
    if class_name not in names:
        return None
    members = records.labels == names.index(class_name)
    return right_under(records, condition)[members].astype(np.float64) if members.any() else None


def _errors(records: EvaluationRecords, threat: str, figure: str) -> np.ndarray | None:
    """Of the positive class's images which are missed, or of the other class's which raise a false alarm."""
    positive = records.summary.get("positive_class")
    attacked = figure.startswith("robust_")
    if positive is None or attacked != bool(threat) or (attacked and threat not in records.threats):
        return None
    # check_class_names took no positive class but one of two.
    [other] = [name for name in records.summary["model"]["class_names"] if name != positive]
    missed = figure.removeprefix("robust_") == "missed_rate"
    right = _of_class(records, threat or CLEAN, positive if missed else other)
    return None if right is None else 1 - right


def _stands_under(records: EvaluationRecords, threat: str, attack: str) -> np.ndarray | None:
    """Right clean, and after this attack and all that ran before it, in order."""
    if threat not in records.threats or attack not in records.attacks:
        return None
    order = records.attacks
    broken_by = records.table.column(f"{threat}.broken_by").to_pylist()
    gone = {"clean", *order[: order.index(attack) + 1]}
    return np.array([breaker not in gone for breaker in broken_by], dtype=np.float64)
