"""A folder has one owner at a time."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adsr_hf.records.folder_lock import LOCK_FILE, OWNER_FILE, FolderInUseError, own_folder

OWNER = """
import sys, time
from pathlib import Path
from adsr_hf.records.folder_lock import own_folder
with own_folder(Path(sys.argv[1]), "adsr train"):
    print("mine", flush=True)
    {then}
"""
# As a data loader's process does, the child holds the inherited descriptor for a moment longer than its parent lives.
FORKS = """
    import os
    if os.fork() == 0:
        time.sleep(2)
        os._exit(0)
    time.sleep(600)
"""


def start_owner(folder: Path, then: str = "time.sleep(600)") -> "subprocess.Popen[str]":
    """A process that owns the folder."""
    script = OWNER.format(then=then)
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


@pytest.mark.parametrize("then", ["time.sleep(600)", FORKS])
def test_a_second_process_is_refused_until_the_first_one_dies(tmp_path: Path, then: str) -> None:
    folder = tmp_path / "run"
    process = start_owner(folder, then)
    try:
        with pytest.raises(FolderInUseError) as caught, own_folder(folder, "adsr train"):
            pass
        host = os.uname().nodename
        assert str(caught.value).startswith(
            f"{folder} is in use by process {process.pid} on {host} (adsr train, since"
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with own_folder(folder, "adsr evaluate"):
        assert f'"pid": {os.getpid()}' in (folder / OWNER_FILE).read_text()
    assert [path.name for path in folder.iterdir()] == [LOCK_FILE]


def test_the_same_thread_may_own_it_twice_and_keeps_it_until_the_outer_end(tmp_path: Path) -> None:
    refused = []

    def try_it() -> None:
        try:
            with own_folder(tmp_path, "a second thread"):
                pass
        except FolderInUseError as error:
            refused.append(str(error))

    with own_folder(tmp_path, "adsr study"):
        with own_folder(tmp_path, "adsr train"):
            pass
        other = threading.Thread(target=try_it)
        other.start()
        other.join()
    assert "adsr study" in refused[0]
    try_it()
    assert len(refused) == 1


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), own_folder(tmp_path, "adsr train"):
        raise KeyboardInterrupt
    process = start_owner(tmp_path, "pass")
    assert process.wait() == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 3}', '{"pid": 99999999999999999999}'])
def test_an_owner_file_that_says_nothing(tmp_path: Path, content: str) -> None:
    process = start_owner(tmp_path)
    try:
        (tmp_path / OWNER_FILE).write_text(content)
        with pytest.raises(FolderInUseError, match="is in use by"), own_folder(tmp_path, "adsr train"):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken cannot be written"), own_folder(tmp_path / "taken", "adsr train"):
        pass


def test_partial_files_of_a_killed_owner_go(tmp_path: Path) -> None:
    (tmp_path / ".records.parquet.7-0123abcd.partial").write_text("")
    with own_folder(tmp_path, "adsr evaluate"):
        assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_FILE, OWNER_FILE]
