"""Files that cannot be written: every library says it in its own way, and most without a path."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

# What torch.save raises is a RuntimeError like any other.
_FROM_TORCH_SAVE = re.compile(r"inline_container|PytorchStreamWriter|Parent directory .* does not exist")
_MEGABYTE = 1e6


class WriteError(OSError):
    """Something could not be written; the message names it, the reason, and the way on.

    Args:
        path: the file or folder.
        reason: what the system said.
        kept: what is left, as sentences without the last full stop.
        number: the system's ``errno``, where it is known.
    """

    def __init__(self, path: Path, reason: str, kept: str = "", number: int | None = None) -> None:
        left = f"{kept}. " if kept else ""
        super().__init__(
            f"{path} cannot be written: {reason}. {left}Make room there, or choose a folder that you may write to"
        )
        self.path, self.reason, self.kept = path, reason, kept
        self.errno = number

    def __reduce__(self) -> Any:
        # One process may tell it to the others.
        return type(self), (self.path, self.reason, self.kept, self.errno)


@contextmanager
def write_errors_name(path: Path, *, kept: str = "") -> Iterator[None]:
    """Turn what the system and the libraries raise inside the block when they cannot write into a :class:`WriteError`.

    Args:
        path: the file or folder that the block writes.
        kept: see :class:`WriteError`.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _FROM_TORCH_SAVE.search(str(error)):
            raise
        raise WriteError(path, _reason(error, path), kept, getattr(error, "errno", None)) from error


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, WriteError):
        return error.reason
    said = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return f"{said} ({shutil.disk_usage(there).free / _MEGABYTE:.0f} MB are free there)"
