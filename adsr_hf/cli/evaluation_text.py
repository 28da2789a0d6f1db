"""What ``adsr evaluate`` prints of its records: averages, what they hide, and whether they can be believed."""

from collections.abc import Sequence
from typing import Any

from adsr_hf.evaluation.figure_names import CLEAN, EXPECTED_ROBUSTNESS_FIGURES, attacked_name, class_figure
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.measures.majority import majority_warning
from adsr_hf.records.sentences import worded
from adsr_hf.records.text_tables import as_text, quoted

# Of more classes only the worst so many are printed; summary.json has them all.
SHOWN_CLASSES = 10

Entry = dict[str, Any]


def evaluation_text(records: EvaluationRecords) -> str:
    """Accuracy and calibration beside the most frequent class's share, class by class, noise, sanity: many lines."""
    averages = [_averages(records), *_not_beaten(records)]
    blocks = [averages, [_classes(records)], _errors(records), [*_noise(records), *_sanity(records)]]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _conditions(records: EvaluationRecords) -> list[str]:
    return [CLEAN, *records.threats]


def _averages(records: EvaluationRecords) -> str:
    figures, majority = records.summary["figures"], records.summary["majority"]
    rows = [["", "accuracy", "95% interval", "ECE", "if calibrated", "confidence"]]
    for condition in _conditions(records):
        accuracy, ece, confidence = (
            figures[attacked_name(name, condition)] for name in ("accuracy", "ece", "mean_confidence")
        )
        low, high = accuracy["interval"]
        rows.append(
            [
                condition,
                _percent(accuracy["value"]),
                f"{100 * low:.1f} to {100 * high:.1f}",
                _percent(ece["value"]),
                _percent(ece["calibrated_level"]),
                _percent(confidence["value"]),
            ]
        )
    for name in EXPECTED_ROBUSTNESS_FIGURES:
        if name in figures:
            low, high = figures[name]["interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            rows.append(
                [f"expected, {name.partition('/')[0]}", _percent(figures[name]["value"]), interval, "", "", ""]
            )
    rows.append([f"always {quoted(majority['class'])}", _percent(majority["share"]), "", "", "", ""])
    return as_text(rows)


def _not_beaten(records: EvaluationRecords) -> list[str]:
    """A warning where nothing shows that the model is better than its most frequent class."""
    majority = records.summary["majority"]
    conditions = [condition for condition in _conditions(records) if not majority["beaten"][condition]]
    return [majority_warning(majority["class"], majority["share"], conditions)] if conditions else []


def _classes(records: EvaluationRecords) -> str:
    figures, conditions = records.summary["figures"], _conditions(records)
    found: list[tuple[str, list[Entry]]] = [
        (name, [figures[class_figure(name, condition)] for condition in conditions])
        for name in records.summary["model"]["class_names"]
        if class_figure(name, CLEAN) in figures
    ]
    found.sort(key=lambda item: (min(entry["value"] for entry in item[1]), item[1][0]["value"]))
    rows = [["accuracy of", "images", *conditions]]
    rows += [_row(quoted(name), entries) for name, entries in found[:SHOWN_CLASSES]]
    text = as_text(rows)
    if len(found) > SHOWN_CLASSES:
        text += f"\nand {len(found) - SHOWN_CLASSES} classes that do better; all are in summary.json"
    return text


def _errors(records: EvaluationRecords) -> list[str]:
    """Of two classes, what is read as what."""
    figures, conditions = records.summary["figures"], _conditions(records)
    names, positive = records.summary["model"]["class_names"], records.summary["positive_class"]
    if len(names) != 2:
        return []
    rows = [["share of errors", "images", *conditions]]
    for name, other in (names, names[::-1]):
        if class_figure(name, CLEAN) not in figures:
            continue
        entries = [_complement(figures[class_figure(name, condition)]) for condition in conditions]
        kind = "" if positive is None else "missed: " if name == positive else "false alarm: "
        rows.append(_row(f"{kind}{quoted(name)} read as {quoted(other)}", entries))
    return [as_text(rows)]


def _noise(records: EvaluationRecords) -> list[str]:
    figures = records.summary["figures"]
    if "noise/accuracy" not in figures:
        return []
    accuracy, flips, stability = (
        _percent(figures[f"noise/{name}"]["value"]) for name in ("accuracy", "flip_rate", "output_stability")
    )
    return [f"under noise: accuracy {accuracy}, flip rate {flips}, output stability {stability}"]


def _sanity(records: EvaluationRecords) -> list[str]:
    return [
        f"sanity: {check['outcome']:<14} {check['name']}: {worded(check['words'])}"
        for check in records.summary["sanity"]
    ]


def _row(name: str, entries: Sequence[Entry]) -> list[str]:
    cells = []
    for entry in entries:
        low, high = entry["interval"]
        cells.append(f"{_percent(entry['value'])} ({100 * low:.0f} to {100 * high:.0f})")
    return [name, f"{entries[0]['images']:,}", *cells]


def _complement(entry: Entry) -> Entry:
    low, high = entry["interval"]
    return entry | {"value": 1 - entry["value"], "interval": [1 - high, 1 - low]}


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
