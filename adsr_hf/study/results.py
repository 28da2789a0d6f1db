"""What a study found, read from the records of its cells: study.json."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal

from adsr_hf.decision.arms import Arm, DifferentConditionsError, Member, check_same_conditions, read_arm
from adsr_hf.decision.compare import corrected, not_beaten
from adsr_hf.decision.deltas import Delta, delta_of
from adsr_hf.evaluation.figure_names import EXPECTED_ROBUSTNESS_FIGURES, attacked_name, class_figure
from adsr_hf.evaluation.records import SUMMARY_FILE
from adsr_hf.records.sentences import Sentence
from adsr_hf.study.cells import LOG_FILE, Cell, end_of, is_finished
from adsr_hf.study.description import Study

SCHEMA_VERSION = 4
KIND = "study"
RECORD_FILE = "study.json"
# "unknown" where cells were run before their plan was kept; "after results": after the first cells were run.
PlanWritten = Literal["before results", "after results", "unknown"]

_SPEED = "images_per_second"
# Of the classes the one whose accuracy under attack, averaged over seeds, is the lowest.
WORST_CLASS = "worst_class_accuracy"
_NOISE_FIGURES = ("noise/accuracy", "noise/flip_rate", "noise/output_stability")


def _overfitting(name: str) -> Callable[[Member], float | None]:
    return lambda member: None if member.overfitting is None else float(member.overfitting[name])


# Of the training run, once for each seed: too few for a test.
RUN_FIGURES: dict[str, Callable[[Member], float | None]] = {
    "best_robust_accuracy": _overfitting("best"),
    "last_robust_accuracy": _overfitting("last"),
    "best_to_last_gap": _overfitting("gap"),
    _SPEED: lambda member: member.images_per_second,
}


@dataclass(frozen=True)
class _Row:
    """One line of a table.

    Attributes:
        weights: ``"student"`` or ``"teacher"``, whose were measured.
        arm: its finished cells; None where there is none.
    """

    name: str
    weights: str
    cells: tuple[Cell, ...]
    finished: tuple[Cell, ...]
    arm: Arm | None


def study_record(study: Study) -> dict[str, Any]:
    """Every figure of every finished cell, and of each table: means, spreads, and tests against the baseline.

    p-values are Holm-corrected over all tests of a table, which is one variant's; those of single classes are a family
    of their own. A test's ``scope`` says whether it holds for other seeds too, or for these runs only.

    Raises:
        RecordsError: when a finished cell's records are damaged, or its model changed since it was measured.
    """
    finished = [cell for cell in study.cells if is_finished(cell)]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "title": study.title,
        "plan": study.plan,
        "plan_written": _plan_written(study.plan, finished),
        "command": study.command,
        "baseline": study.baseline,
        "seeds": list(study.seeds),
        "machine": _machines(finished),
        "variants": [_variant(study, variant) for variant in study.variants],
        "unfinished": [_unfinished(cell) for cell in study.cells if cell not in finished],
    }


def _plan_written(plan: str, finished: Sequence[Cell]) -> PlanWritten:
    """Whether every finished cell was begun under this plan, line breaks aside."""
    begun = [Cell.read(cell.folder).plan for cell in finished]
    if any(text is not None and text.split() != plan.split() for text in begun):
        return "after results"
    return "unknown" if None in begun else "before results"


def _machines(finished: Sequence[Cell]) -> str | None:
    """What the cells were measured on; None where there is none yet."""
    summaries = [cell.evaluation_folder(weights) / SUMMARY_FILE for cell in finished for weights in cell.weights]
    names = [json.loads(path.read_text(encoding="utf-8"))["machine"] for path in summaries]
    return "; ".join(dict.fromkeys(names)) or None


def _variant(study: Study, variant: str) -> dict[str, Any]:
    rows = [row for arm in study.arms for row in _rows(study, variant, arm)]
    measured = [row.arm.members[0] for row in rows if row.arm is not None]
    if not measured:
        return {
            "name": variant,
            "threats": [],
            "attacks": [],
            "images": 0,
            "majority": None,
            "figures": [],
            "rows": [],
        }
    summary = measured[0].records.summary
    threats, classes = measured[0].records.threats, summary["model"]["class_names"]
    names = figure_names(threats, measured[0].records.attacks)
    figures = {row.name: _figures(row, names) | _worst_classes(row, threats, classes) for row in rows}
    names = [name for name in names if any(name in figures[row.name] for row in rows)]
    under_attack = [class_figure(name, threat) for threat in threats for name in classes]
    tests, refused = _tests(study, rows, [*(name for name in names if name not in RUN_FIGURES), *under_attack])
    return {
        "name": variant,
        "threats": summary["threats"],
        "attacks": summary["attacks"],
        "images": summary["data"]["images"],
        "majority": {name: summary["majority"][name] for name in ("class", "share")},
        "figures": names,
        "rows": [
            {
                "name": row.name,
                "arm": row.cells[0].arm,
                "weights": row.weights,
                "seeds": [cell.seed for cell in row.finished],
                "unfinished_seeds": [cell.seed for cell in row.cells if cell not in row.finished],
                "folders": [str(cell.folder) for cell in row.finished],
                "figures": figures[row.name],
                "majority_not_beaten": [] if row.arm is None else not_beaten(row.arm),
                "against_baseline": tests.get(row.name, {}),
                "not_compared": refused.get(row.name),
            }
            for row in rows
        ],
    }


def figure_names(threats: list[str], attacks: list[str]) -> list[str]:
    """Figures of a table, in order.

    Args:
        threats, attacks: that were measured. Of several attacks the first is shown beside the worst of all.
    """
    robust = [
        name
        for threat in threats
        for name in [f"{threat}/{attacks[0]}/robust_accuracy", f"{threat}/robust_accuracy"][len(attacks) == 1 :]
    ]
    calibration = ["ece", *(f"{threat}/robust_ece" for threat in threats), "ece_after_temperature"]
    worst = [attacked_name(WORST_CLASS, threat) for threat in threats]
    return ["accuracy", *EXPECTED_ROBUSTNESS_FIGURES, *robust, *worst, *calibration, *_NOISE_FIGURES, *RUN_FIGURES]


def _rows(study: Study, variant: str, arm: str) -> list[_Row]:
    cells = tuple(cell for cell in study.cells if cell.variant == variant and cell.arm == arm)
    finished = tuple(cell for cell in cells if is_finished(cell))
    rows = []
    for weights in cells[0].weights:
        name = cells[0].row_name(weights)
        folders = [str(cell.evaluation_folder(weights)) for cell in finished]
        found = replace(read_arm(folders), name=name) if folders else None
        rows.append(_Row(name, cells[0].network(weights), cells, finished, found))
    return rows


def _figures(row: _Row, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each figure that all finished cells of the row have."""
    return {name: _described(values) | _level(row, name) for name in names if (values := _values(row, name))}


def _level(row: _Row, name: str) -> dict[str, float]:
    """Of a calibration error also what calibrated models would show, averaged over seeds."""
    assert row.arm is not None
    entries = [_entry(member, name) or {} for member in row.arm.members]
    levels = [float(entry["calibrated_level"]) for entry in entries if "calibrated_level" in entry]
    return {"calibrated_level": fmean(levels)} if levels else {}


def _worst_classes(row: _Row, threats: Sequence[str], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Under each threat the class with the lowest mean, by name; tests of it are those of its own figure."""
    result = {}
    for threat in threats:
        of_class = {name: values for name in classes if (values := _values(row, class_figure(name, threat)))}
        if of_class:
            worst = min(of_class, key=lambda name: fmean(of_class[name]))
            named = {"class": worst, "figure": class_figure(worst, threat)}
            result[attacked_name(WORST_CLASS, threat)] = _described(of_class[worst]) | named
    return result


def _values(row: _Row, name: str) -> list[float]:
    """A figure of every finished cell; empty where not all of them have it."""
    if row.arm is None:
        return []
    entries = [_entry(member, name) for member in row.arm.members]
    values = [entry["value"] for entry in entries if entry is not None]
    return values if len(values) == len(entries) else []


def _entry(member: Member, name: str) -> dict[str, Any] | None:
    if name not in RUN_FIGURES:
        found: dict[str, Any] | None = member.records.summary["figures"].get(name)
        return found
    value = RUN_FIGURES[name](member)
    return None if value is None else {"value": value}


def _described(values: list[float]) -> dict[str, Any]:
    return {"values": values, "mean": fmean(values), "spread": stdev(values) if len(values) > 1 else None}


def _tests(study: Study, rows: list[_Row], names: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Sentence]]:
    """Row and figure to its difference from the baseline's first row, corrected; and rows that cannot be compared."""
    base = next((row.arm for row in rows if row.cells[0].arm == study.baseline), None)
    others = [row for row in rows if row.arm is not None and row.arm is not base]
    if base is None:
        return {}, {}
    found: list[tuple[str, Delta]] = []
    refused: dict[str, Sentence] = {}
    for row in others:
        assert row.arm is not None
        try:
            check_same_conditions(row.arm.members[0], base.members[0])
        except DifferentConditionsError as error:
            refused[row.name] = error.reason
            continue
        deltas = [delta_of(name, row.arm, base) for name in names]
        found += [(row.name, delta) for delta in deltas if delta is not None]
    result: dict[str, dict[str, Any]] = {}
    whole = corrected([delta for _, delta in found])
    for (row_name, _), delta in zip(found, whole, strict=True):
        result.setdefault(row_name, {})[delta.name] = delta.as_dict()
    return result, refused


def _unfinished(cell: Cell) -> dict[str, Any]:
    outcome = end_of(cell)
    return {
        "name": cell.name,
        "variant": cell.variant,
        "arm": cell.arm,
        "seed": cell.seed,
        "log": str(cell.folder / LOG_FILE),
        "error": None if outcome is None else outcome.error,
    }
