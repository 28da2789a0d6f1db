"""Two folders that change places in one step."""

import ctypes
import errno
import os
from pathlib import Path

_RENAME_EXCHANGE = 2
_CURRENT_FOLDER = -100


def exchange(first: Path, second: Path) -> None:
    """Let two paths of one file system change places: at no instant is either missing.

    Linux's renameat2(2), for which Python has no function.

    Raises:
        OSError: when the kernel or the file system cannot do that, with nothing changed.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    failed = rename(
        _CURRENT_FOLDER, os.fsencode(first), _CURRENT_FOLDER, os.fsencode(second), ctypes.c_uint(_RENAME_EXCHANGE)
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(second))
