"""What the rows of an evaluation must hold, and that its summary tells their figures and no others."""

import math
from typing import Any

import numpy as np
import pyarrow

from adsr_hf.evaluation.classes import confusion_of, majority_of
from adsr_hf.evaluation.figure_names import EXPECTED_ROBUSTNESS_FIGURES
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.summary import figures_of, reliability_of, temperature_entry
from adsr_hf.measures.intervals import Intervals
from adsr_hf.records.json_shapes import ShapeError

# Sums of float64 over images differ by this much between machines.
TOLERANCE = 1e-9
# And what libraries compute of a distribution by this much.
INTERVAL_TOLERANCE = 1e-4
_INTEGER, _REAL = pyarrow.int64(), pyarrow.float64()


def check_rows(records: EvaluationRecords) -> None:
    """Raise ShapeError where a column is missing, of another type, out of range, or contradicts another."""
    summary, table = records.summary, records.table
    images, classes = summary["data"]["images"], summary["model"]["num_classes"]
    if table.num_rows != images:
        raise ShapeError(f"there are {table.num_rows} rows, and the summary tells of {images} images")
    if len(set(table.column_names)) < len(table.column_names):
        raise ShapeError("a column is there twice")
    if not np.array_equal(_numbers(table, "index", _INTEGER, 0, images - 1), np.arange(images)):
        raise ShapeError("the column index does not count the images")
    labels = _numbers(table, "label", _INTEGER, 0, classes - 1)
    clean = _outcomes(table, "clean", classes)
    for threat in records.threats:
        _check_threat(records, threat, labels, clean)
    for name in table.column_names:
        if name.startswith("noise."):
            _check_noise(table, name, classes)


def check_figures(records: EvaluationRecords) -> None:
    """Raise ShapeError where a figure, its interval, a reliability or a confusion matrix is not that of the rows.

    The interval of a mean, which comes from resamples, is not made again: it must hold the value.
    """
    summary = records.summary
    recorded = summary["figures"]
    found = figures_of(records, summary["seed"], resamples=None)
    if summary["temperature"] is not None:
        found["ece_after_temperature"] = temperature_entry(
            records, summary["temperature"]["value"], Intervals(records.images, summary["seed"], resamples=None)
        )
    # Records of an earlier version do not hold it.
    found = {name: found[name] for name in found if name in recorded or name not in EXPECTED_ROBUSTNESS_FIGURES}
    for name in sorted(found.keys() ^ recorded.keys()):
        raise ShapeError(f"figures.{name} is {'missing' if name in found else 'not one that the rows give'}")
    for name, entry in found.items():
        if not _close(recorded[name] | {"interval": None}, entry | {"interval": None}):
            raise ShapeError(
                f"figures.{name} is {recorded[name]['value']} over {recorded[name]['images']} images, but the rows "
                f"give {entry['value']} over {entry['images']}"
            )
        _check_interval(name, recorded[name], entry["interval"])
    for name, again in (
        ("reliability", reliability_of(records)),
        ("confusion", confusion_of(records)),
        ("majority", majority_of(records)),
    ):
        if not _close(summary[name], again):
            raise ShapeError(f"{name} is not what the rows give")


def _check_interval(name: str, recorded: dict[str, Any], found: list[float] | None) -> None:
    low, high = recorded["interval"]
    if found is None:
        if not low - TOLERANCE <= recorded["value"] <= high + TOLERANCE:
            raise ShapeError(
                f"figures.{name}.interval is [{low}, {high}], which its value {recorded['value']} is not in"
            )
    elif not np.allclose((low, high), found, rtol=0, atol=INTERVAL_TOLERANCE):
        raise ShapeError(f"figures.{name}.interval is [{low}, {high}], but the rows give {found}")


def _check_threat(records: EvaluationRecords, threat: str, labels: np.ndarray, clean: np.ndarray) -> None:
    """Check one threat's columns against labels and clean predictions, both (N,) int64."""
    table, classes = records.table, records.summary["model"]["num_classes"]
    worst = _outcomes(table, f"{threat}.worst", classes)
    _numbers(table, f"{threat}.worst.distance", _REAL, 0, math.inf)
    for attack in records.attacks:
        _numbers(table, f"{threat}.{attack}.prediction", _INTEGER, 0, classes - 1, nulls=True)
        _numbers(table, f"{threat}.{attack}.confidence", _REAL, 0, 1, nulls=True)
        _numbers(table, f"{threat}.{attack}.distance", _REAL, 0, math.inf, nulls=True)
    name = f"{threat}.broken_by"
    broken_by = np.array(_column(table, name, pyarrow.string()).fill_null("").to_pylist())
    unknown = set(broken_by.tolist()) - {"", "clean", *records.attacks}
    if unknown:
        raise ShapeError(f"the column {name} names {min(unknown)!r}, which is no attack of these records")
    right, falls = clean == labels, worst != labels
    fits = np.select([broken_by == "", broken_by == "clean"], [right & ~falls, ~right], right & falls)
    if not fits.all():
        raise ShapeError(f"the column {name} contradicts the predictions, first in row {int(np.argmin(fits))}")


def _outcomes(table: pyarrow.Table, name: str, classes: int) -> np.ndarray:
    """Predictions, (N,) int64, of logits that are there for every class and whose largest they are."""
    prediction = _numbers(table, f"{name}.prediction", _INTEGER, 0, classes - 1)
    confidence = _numbers(table, f"{name}.confidence", _REAL, 0, 1)
    column = _column(table, f"{name}.logits", pyarrow.list_(pyarrow.float32()))
    lengths = column.value_lengths().to_numpy(zero_copy_only=False) if not column.null_count else np.zeros(1)
    if (lengths != classes).any():
        raise ShapeError(f"the column {name}.logits does not hold {classes} numbers in each row")
    logits = column.flatten().to_numpy(zero_copy_only=False).reshape(len(prediction), classes)
    if not np.isfinite(logits).all():
        raise ShapeError(f"the column {name}.logits holds NaN, infinity or nothing")
    if (logits.argmax(1) != prediction).any():
        raise ShapeError(f"the column {name}.prediction is not the largest of {name}.logits")
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    if not np.allclose(confidence, 1 / shifted.sum(1), rtol=0, atol=1e-6):
        raise ShapeError(f"the column {name}.confidence is not that of {name}.logits")
    return prediction


def _check_noise(table: pyarrow.Table, name: str, classes: int) -> None:
    parts = name.split(".")
    if len(parts) != 4 or parts[3] not in ("prediction", "confidence", "total_variation"):
        raise ShapeError(f"the column {name} is none of an evaluation's")
    if parts[3] == "prediction":
        _numbers(table, name, _INTEGER, 0, classes - 1)
        _column(table, f"{name.removesuffix('.prediction')}.total_variation", _REAL)
    else:
        _numbers(table, name, _REAL, 0, 1 + 1e-9)


def _numbers(
    table: pyarrow.Table, name: str, kind: pyarrow.DataType, low: float, high: float, *, nulls: bool = False
) -> np.ndarray:
    """(N,) values of a column, without its nulls where there may be some."""
    column = _column(table, name, kind)
    if column.null_count and not nulls:
        raise ShapeError(f"the column {name} has gaps")
    values = column.drop_null().to_numpy(zero_copy_only=False)
    # NaN is in no range.
    if not ((values >= low) & (values <= high)).all():
        raise ShapeError(f"the column {name} holds what is not in [{low:g}, {high:g}]")
    return values


def _column(table: pyarrow.Table, name: str, kind: pyarrow.DataType) -> pyarrow.Array:
    if name not in table.column_names:
        raise ShapeError(f"the column {name} is missing")
    column = table.column(name)
    if column.type != kind:
        raise ShapeError(f"the column {name} is of type {column.type}, but must be {kind}")
    return column.combine_chunks()


def _close(recorded: Any, found: Any) -> bool:
    """Whether two JSON values are equal but for rounding."""
    if isinstance(recorded, bool) or isinstance(found, bool) or not isinstance(found, int | float):
        if isinstance(recorded, list) and isinstance(found, list):
            return len(recorded) == len(found) and all(map(_close, recorded, found))
        if isinstance(recorded, dict) and isinstance(found, dict):
            return recorded.keys() == found.keys() and all(_close(recorded[name], found[name]) for name in found)
        return type(recorded) is type(found) and bool(recorded == found)
    return isinstance(recorded, int | float) and bool(found - TOLERANCE <= recorded <= found + TOLERANCE)
