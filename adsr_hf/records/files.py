"""Files that are either the old or the whole new one, at any instant, and that outlive a power cut."""

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from adsr_hf.records.disk_errors import write_errors_name

_PARTIAL = re.compile(r"^\..+\.\d+-[0-9a-f]{8}\.partial$")
# What file systems answer that cannot sync a folder, or need not.
_FOLDERS_ARE_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing, making its folder; it takes the place of ``path`` when the block ends without an error.

    Until then it has a name that no other writer uses, so that several may write the same ``path``: the last one wins,
    whole. File and folder are synced to disk.

    Raises:
        WriteError: naming ``path`` and the way out; what was there before is left, and nothing beside it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    with write_errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as :func:`whole_file` does."""
    with whole_file(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as :func:`whole_file` does."""
    write_bytes(path, json.dumps(content, indent=2, sort_keys=True).encode())


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_tree(folder: Path) -> None:
    """Sync every file and folder in ``folder``, itself and its entry in the folder above to disk."""
    with write_errors_name(folder):
        for parent, _, names in os.walk(folder, topdown=False):
            for name in names:
                with open(Path(parent) / name, "rb") as file:
                    os.fsync(file.fileno())
            sync_folder(Path(parent))
        sync_folder(folder.absolute().parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder's list of names to disk, so that what was renamed, made or removed there stays so."""
    if os.name == "nt":  # Windows opens no folders.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDERS_ARE_NOT_SYNCED:
            raise
    finally:
        os.close(descriptor)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed writers left in ``folder`` itself; only for its owner, while nobody else writes there."""
    for path in folder.iterdir():
        if _PARTIAL.match(path.name):
            path.unlink(missing_ok=True)
