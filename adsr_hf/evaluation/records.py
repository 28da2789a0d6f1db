"""The records of one evaluation: a row for each image, and a summary of every figure. Everything is read from them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from adsr_hf.files import whole_file, write_json

SCHEMA_VERSION = 3
KIND = "evaluation"
RECORDS_FILE = "records.parquet"
SUMMARY_FILE = "summary.json"


class RecordsError(ValueError):
    """Records that cannot be read: missing, cut short, of another kind or a newer schema, or not of one evaluation."""


@dataclass(frozen=True)
class EvaluationRecords:
    """One evaluation.

    Attributes:
        summary: what summary.json holds.
        table: a row for each image, by ascending ``index``.
    """

    summary: dict[str, Any]
    table: pyarrow.Table

    @property
    def images(self) -> int:
        """Number of images."""
        return self.table.num_rows

    @property
    def threats(self) -> list[str]:
        """Threat models that were measured, as text."""
        return list(self.summary["threats"])

    @property
    def attacks(self) -> list[str]:
        """Names of the attacks that were run, in order."""
        return [attack["name"] for attack in self.summary["attacks"]]

    @property
    def labels(self) -> np.ndarray:
        """(N,), int64."""
        return self.column("label")

    def column(self, name: str) -> np.ndarray:
        """(N,) values of a column; nulls come as nan."""
        return self.table.column(name).to_numpy().copy()

    def logits(self, condition: str) -> np.ndarray:
        """(N, K), float32, of ``"clean"`` or ``"{threat}.worst"``."""
        rows = self.table.column(f"{condition}.logits").combine_chunks()
        return rows.flatten().to_numpy().reshape(len(rows), -1).copy()

    def figure(self, name: str) -> float:
        """The value of one figure of the summary."""
        return float(self.summary["figures"][name]["value"])

    def write(self, folder: Path) -> None:
        """Write both files, each whole or not at all; the summary last, so that it never describes older rows.

        Raises:
            OSError: naming the file that could not be written; what was there before is left.
        """
        with whole_file(folder / RECORDS_FILE) as file:
            pyarrow.parquet.write_table(self.table, file)
        write_json(folder / SUMMARY_FILE, self.summary)


def read_evaluation(folder: str | Path) -> EvaluationRecords:
    """Read an evaluation's folder, or the ``evaluation`` folder of a run.

    Raises:
        RecordsError: when a file is missing or cut short, the schema is newer, or rows and summary do not belong
            together.
    """
    folder = Path(folder)
    if not (folder / SUMMARY_FILE).is_file() and (folder / "evaluation" / SUMMARY_FILE).is_file():
        folder = folder / "evaluation"
    if not (folder / SUMMARY_FILE).is_file() or not (folder / RECORDS_FILE).is_file():
        raise RecordsError(f"{folder} holds no {SUMMARY_FILE} with {RECORDS_FILE}; make them with adsr evaluate")
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        table = pyarrow.parquet.read_table(folder / RECORDS_FILE)
    except (ValueError, OSError, pyarrow.ArrowInvalid) as error:
        raise RecordsError(f"the records in {folder} are damaged or cut short: {error}; evaluate again") from error
    _check(folder, summary, table)
    return EvaluationRecords(summary, table)


def _check(folder: Path, summary: Any, table: pyarrow.Table) -> None:
    version = summary.get("schema_version") if isinstance(summary, dict) else None
    if not isinstance(version, int) or summary.get("kind", KIND) != KIND:
        raise RecordsError(f"{folder / SUMMARY_FILE} is not the summary of an evaluation; name an evaluation's folder")
    if version > SCHEMA_VERSION:
        raise RecordsError(
            f"the records in {folder} have schema {version}, newer than {SCHEMA_VERSION}, which this version reads; "
            "upgrade adsr_hf"
        )
    if version < SCHEMA_VERSION:
        raise RecordsError(f"the records in {folder} have the old schema {version}; evaluate again with this version")
    images = summary["data"]["images"]
    if table.num_rows != images:
        raise RecordsError(
            f"the records in {folder} hold {table.num_rows} images and their summary {images}: the files are not of "
            "one evaluation; evaluate again"
        )
    wanted = {f"{threat}.worst.prediction" for threat in summary["threats"]} | {"label", "clean.prediction"}
    missing = sorted(wanted - set(table.column_names))
    if missing:
        raise RecordsError(f"the records in {folder} lack the columns {missing}; evaluate again")
