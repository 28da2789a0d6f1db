"""Where a run keeps its checkpoints: folders that the number of optimizer steps names. Imports nothing heavy."""

import re
from pathlib import Path

_CHECKPOINT_FOLDER = re.compile(r"^checkpoint-(\d{1,18})$", re.ASCII)


def steps_of(name: str) -> int | None:
    """Optimizer steps of a run at a checkpoint, which its folder's name says; None for another name."""
    match = _CHECKPOINT_FOLDER.match(name)
    return int(match[1]) if match else None


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Folders ``checkpoint-N`` of a run, fewest steps first: clocks may be set back."""
    if not output_dir.is_dir():
        return []
    found = [path for path in output_dir.iterdir() if path.is_dir() and steps_of(path.name) is not None]
    return sorted(found, key=lambda path: steps_of(path.name) or 0)
