"""Reads an evaluation's records as a stranger's: what does not fit its rows is refused, not shown."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from adsr_hf.evaluation.records import KIND, RECORDS_FILE, SCHEMA_VERSION, SUMMARY_FILE, EvaluationRecords
from adsr_hf.evaluation.row_checks import check_figures, check_rows
from adsr_hf.evaluation.summary_shape import check_summary
from adsr_hf.records.json_shapes import ShapeError, read_object
from adsr_hf.settings.errors import RecordsError


def read_evaluation(folder: str | Path) -> EvaluationRecords:
    """Read an evaluation's folder, or the ``evaluation`` folder of a run.

    Every value of a figure is computed again from the rows.

    Raises:
        RecordsError: naming the file, what is wrong and the way out: when a file is missing or cut short, the schema
            is another, a value is not what it must be, or rows and summary do not belong together.
    """
    folder = Path(folder)
    if not (folder / SUMMARY_FILE).is_file() and (folder / "evaluation" / SUMMARY_FILE).is_file():
        folder = folder / "evaluation"
    summary_file, records_file = folder / SUMMARY_FILE, folder / RECORDS_FILE
    if not summary_file.is_file() or not records_file.is_file():
        raise RecordsError(f"{folder} holds no {SUMMARY_FILE} with {RECORDS_FILE}; make them with adsr evaluate")
    try:
        summary = read_object(summary_file)
    except ShapeError as error:
        raise RecordsError(f"{summary_file} is no summary: {error}; evaluate again") from error
    _check_schema(summary_file, summary)
    try:
        check_summary(summary)
    except ShapeError as error:
        raise RecordsError(f"{summary_file} is damaged: {error}; evaluate again") from error
    records = EvaluationRecords(summary, _table(records_file, summary["records_sha256"]))
    try:
        check_rows(records)
    except ShapeError as error:
        raise RecordsError(f"{records_file} is damaged: {error}; evaluate again") from error
    try:
        check_figures(records)
    except ShapeError as error:
        raise RecordsError(
            f"{summary_file} does not tell what {RECORDS_FILE} holds: {error}; evaluate again"
        ) from error
    return records


def _check_schema(path: Path, summary: dict[str, Any]) -> None:
    version = summary.get("schema_version")
    if type(version) is not int or summary.get("kind") != KIND:
        raise RecordsError(f"{path} is not the summary of an evaluation; name an evaluation's folder")
    if version > SCHEMA_VERSION:
        raise RecordsError(
            f"{path} has schema {version}, newer than {SCHEMA_VERSION}, which this version reads; upgrade adsr_hf"
        )
    if version < SCHEMA_VERSION:
        raise RecordsError(f"{path} has the old schema {version}; evaluate again with this version")


def _table(path: Path, sha256: str) -> pyarrow.Table:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordsError(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RecordsError(
            f"{path} is damaged, or not of the same evaluation as {SUMMARY_FILE} beside it, which a kill between the "
            "two leaves behind; the same adsr evaluate command goes on from there"
        )
    try:
        return pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (ValueError, OSError, pyarrow.ArrowException) as error:
        raise RecordsError(f"{path} is no table: {error}; evaluate again") from error
