"""A folder that is written into has one owner at a time; an owner that died leaves it free."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from adsr_hf.records.disk_errors import write_errors_name
from adsr_hf.records.files import remove_partial_files, write_json

LOCK_FILE = ".adsr.lock"
OWNER_FILE = ".adsr.owner.json"
# Data loader processes hold on to the lock until they notice that their parent was killed.
_SECONDS_FOR_CHILDREN = 15.0


class FolderInUseError(RuntimeError):
    """A folder that another process writes into."""


@contextmanager
def own_folder(folder: Path, use: str, state: PartialState | None = None) -> Iterator[None]:
    """Own ``folder``, which is made where it does not exist, until the block ends.

    The lock is the operating system's: it ends with its process, however that ends. Inside the block the same thread
    may own the folder once more.

    Args:
        folder: what is written into; folders inside it are not meant.
        use: what for, in the words of a message: ``"adsr train"``.
        state: of the launched processes, which all must call this: the main one owns for all of them. None for one.

    Raises:
        FolderInUseError: in every process, at once, naming the folder and its owner's process id and host.
        WriteError: in every process, when nothing can be written there.
    """
    lock: FileLock | None = None
    refusal: Exception | None = None
    if state is None or state.is_main_process:
        try:
            lock = _acquired(folder)
            _sign(folder, lock, use)
        except (FolderInUseError, OSError) as error:
            refusal = error
    if state is not None and state.num_processes > 1:
        decision = [refusal]
        broadcast_object_list(decision)
        refusal = decision[0]
    if refusal is not None:
        raise refusal
    try:
        yield
    finally:
        if lock is not None:
            _release(folder, lock)


def _acquired(folder: Path) -> FileLock:
    with write_errors_name(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.resolve() / LOCK_FILE, is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            owner = _owner(folder)
            try:
                lock.acquire(timeout=_SECONDS_FOR_CHILDREN if _has_died(owner) else 0)
            except Timeout:
                raise FolderInUseError(_refusal(folder, owner)) from None
    return lock


def _sign(folder: Path, lock: FileLock, use: str) -> None:
    """Say whose the folder is, and clear away what killed writers left."""
    if lock.lock_counter > 1:
        return
    try:
        remove_partial_files(folder)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        owner = {"use": use, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
        write_json(folder / OWNER_FILE, owner)
    except BaseException:
        lock.release()
        raise


def _release(folder: Path, lock: FileLock) -> None:
    try:
        if lock.lock_counter == 1:
            (folder / OWNER_FILE).unlink(missing_ok=True)
    finally:
        lock.release()


def _owner(folder: Path) -> dict[str, Any]:
    """What the owner wrote; empty while it has not yet, or where that is damaged."""
    try:
        owner = json.loads((folder / OWNER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _has_died(owner: dict[str, Any]) -> bool:
    # Signal 0 asks whether a process exists; Windows would send it Ctrl-C.
    if os.name == "nt" or owner.get("host") != socket.gethostname() or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _refusal(folder: Path, owner: dict[str, Any]) -> str:
    if not owner:
        who = "another process"
    else:
        pid, host, use, since = (owner.get(name, "unknown") for name in ("pid", "host", "use", "since"))
        who = f"process {pid} on {host} ({use}, since {since})"
    return f"{folder} is in use by {who}, and what two write into one folder is lost; wait for it, or choose another"
