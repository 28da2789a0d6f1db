"""Files that cannot be written: every library says it in its own way, and most without a path."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

# What torch.save raises is a RuntimeError like any other.
_FROM_TORCH_SAVE = re.compile(r"inline_container|PytorchStreamWriter|Parent directory .* does not exist")
_MEGABYTE = 1e6


class WriteError(OSError):
    """Something could not be written; the message names it, the reason, and the way on."""

    def __init__(self, path: Path, reason: str, way_on: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}. {way_on}")
        self.path = path
        self.reason = reason


@contextmanager
def naming_what_was_written(path: Path, *, way_on: str) -> Iterator[None]:
    """Turn what the libraries raise inside the block when they cannot write into a :class:`WriteError`.

    Args:
        path: the file or folder that the block writes.
        way_on: what is left and what to do, as sentences without the last full stop.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _FROM_TORCH_SAVE.search(str(error)):
            raise
        raise WriteError(path, _reason(error, path), way_on) from error


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, WriteError):
        return error.reason
    said = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return f"{said} ({shutil.disk_usage(there).free / _MEGABYTE:.0f} MB are free there)"
