"""What an evaluation has finished, on disk in small whole files, so that a kill costs at most one of them."""

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from adsr_hf.records.disk_errors import write_errors_name
from adsr_hf.records.files import whole_file

logger = logging.get_logger(__name__)

ImageColumns = dict[str, np.ndarray]
FOLDER = ".journal"


class Journal:
    """Finished units of work. A unit is some images at one stage: columns of equal length, one of them ``index``.

    Args:
        folder: of the evaluation; units go to a sub-folder named after ``key``. None keeps them in memory.
        key: everything that decides an outcome. Another model, other data or settings never meet these units.
    """

    def __init__(self, folder: Path | None, key: dict[str, Any]) -> None:
        self._memory: dict[str, list[ImageColumns]] = {}
        self._folder = None
        if folder is not None:
            name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
            self._folder = folder / FOLDER / name
            with write_errors_name(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, stage: str, rows: ImageColumns) -> None:
        """Keep a unit; it is on disk, whole, when this returns."""
        if self._folder is None:
            self._memory.setdefault(stage, []).append(rows)
            return
        # numpy below 2.3 would take savez's allow_pickle for one more array; no column holds objects.
        arrays: dict[str, Any] = dict(rows)
        path = self._folder / f"{_slug(stage)}-{int(rows['index'].min()):08d}-{os.getpid()}.npz"
        with whole_file(path) as file:
            np.savez(file, **arrays)

    def read(self, stage: str) -> ImageColumns:
        """All units of a stage, joined, by ascending index; an empty mapping where there is none."""
        if self._folder is None:
            units = self._memory.get(stage, [])
        else:
            found = (_unit(path) for path in sorted(self._folder.glob(f"{_slug(stage)}-*.npz")))
            units = [unit for unit in found if unit is not None]
        if not units:
            return {}
        joined = {name: np.concatenate([unit[name] for unit in units]) for name in units[0]}
        # Two processes of different runs may both have finished an image; the outcome is the same.
        _, first = np.unique(joined["index"], return_index=True)
        return {name: values[first] for name, values in joined.items()}

    def remove(self) -> None:
        """Forget the units of this evaluation, once its records are written; those of others stay."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # Of another evaluation there is something left.
                self._folder.parent.rmdir()


def _unit(path: Path) -> ImageColumns | None:
    """One unit's columns; None where the file is damaged, as after a power cut: its images are measured again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, KeyError, EOFError, OSError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning(f"{path} is damaged ({error}); its images are measured again")
        path.unlink(missing_ok=True)
        return None


def _slug(stage: str) -> str:
    return hashlib.sha256(stage.encode()).hexdigest()[:20]
