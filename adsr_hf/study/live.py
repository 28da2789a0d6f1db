"""What a cell is doing: left in its folder by the process that runs it, and shown by the study while it waits."""

import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from adsr_hf.records.durations import duration_in_words
from adsr_hf.records.files import write_json
from adsr_hf.runs.log import RunProgress
from adsr_hf.study.cells import Cell

PROGRESS_FILE = "progress.json"

_LOOK_EVERY = 1.0
# Where lines cannot be drawn over, a cell gets a new one this often.
_TELL_EVERY = 60.0


def tell_training(folder: Path, progress: RunProgress) -> None:
    """Write down how far the training of a cell has come."""
    words = f"step {progress.step} of {progress.steps}, {duration_in_words(progress.seconds_left)} of training left"
    # Last, since a narrow terminal cuts the line off.
    _tell(folder, words if progress.evaluation is None else f"{words}; {progress.evaluation}")


def tell_measuring(folder: Path, weights: str) -> None:
    """Write down that a cell is trained and its evaluation runs."""
    _tell(folder, f"trained; measuring the {weights}")


def _tell(folder: Path, words: str) -> None:
    write_json(folder / PROGRESS_FILE, {"time": time.time(), "words": words})


def doing(cell: Cell, since: float) -> str | None:
    """What the cell is doing, in words; None where it has said nothing since then.

    Args:
        since: seconds since the epoch. What an earlier attempt left is older.
    """
    try:
        latest: dict[str, Any] = json.loads((cell.folder / PROGRESS_FILE).read_text(encoding="utf-8"))
        return str(latest["words"]) if latest["time"] >= since else None
    except (OSError, ValueError, KeyError, TypeError):
        # A cell that has not begun; or a file that is no part of any result.
        return None


class LiveCells:
    """A line for each cell that runs, below the study's bar; for a log file, a line a minute.

    Args:
        slots: how many cells run at a time.
        bar: the study's, which is drawn first.
    """

    def __init__(self, cells: Sequence[Cell], slots: int, bar: tqdm) -> None:
        self._waiting = list(cells)
        self._bar = bar
        self._since = time.time()
        self._told: dict[Path, tuple[float, str]] = {}
        draws = sys.stderr.isatty()
        self._lines = [
            tqdm(position=1 + slot, bar_format="{desc}", leave=False) for slot in range(slots if draws else 0)
        ]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "LiveCells":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for line in self._lines:
            line.close()

    def ended(self, cell: Cell) -> None:
        """The cell has finished or failed: it is shown no more."""
        self._waiting = [other for other in self._waiting if other is not cell]

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            self.show()

    def show(self) -> None:
        """Look what the cells are doing, and show what is new."""
        running = [(cell, words) for cell in self._waiting if (words := doing(cell, self._since)) is not None]
        if self._lines:
            for slot, line in enumerate(self._lines):
                line.set_description_str(f"{running[slot][0].name}: {running[slot][1]}" if slot < len(running) else "")
            return
        now = time.monotonic()
        for cell, words in running:
            last, before = self._told.get(cell.folder, (-_TELL_EVERY, ""))
            if words != before and now - last >= _TELL_EVERY:
                self._told[cell.folder] = now, words
                self._bar.write(f"{cell.name}: {words}")
