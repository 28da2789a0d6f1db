"""The records of one evaluation: a row for each image, and a summary of every figure. Everything is read from them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from adsr_hf.records.files import write_bytes, write_json

SCHEMA_VERSION = 3
KIND = "evaluation"
RECORDS_FILE = "records.parquet"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class EvaluationRecords:
    """One evaluation.

    Attributes:
        summary: what summary.json holds.
        table: a row for each image, by ascending ``index``.

    Example:
        >>> table = pyarrow.table({"index": [0, 1], "label": [3, 5]})
        >>> records = EvaluationRecords({"threats": ["Linf 4/255"]}, table)
        >>> records.images, records.threats, records.labels
        (2, ['Linf 4/255'], array([3, 5]))
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
        """Write both files, each whole or not at all; the summary last, with the sha256 of the rows that it describes.

        Raises:
            OSError: naming the file that could not be written; what was there before is left.
        """
        rows = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(self.table, rows)
        content = rows.getvalue().to_pybytes()
        self.summary["records_sha256"] = hashlib.sha256(content).hexdigest()
        write_bytes(folder / RECORDS_FILE, content)
        write_json(folder / SUMMARY_FILE, self.summary)
