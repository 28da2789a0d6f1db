"""Whole files: one name for each writer, errors that name the path, everything synced."""

import errno
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from adsr_hf.records.files import remove_partial_files, sync_tree, whole_file, write_bytes, write_json


def _write_often(path: Path, letter: bytes) -> None:
    for _ in range(40):
        write_bytes(path, letter * 20000)


def test_several_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(path, letter)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    contents = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            contents.add(path.read_bytes())
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert contents <= {b"a" * 20000, b"b" * 20000}
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_goes_wrong_leaves_the_old_file_alone(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail() -> None:
        with whole_file(path) as file:
            file.write(b"new")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_an_error_names_the_path_and_keeps_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("adsr_hf.records.files.os.fsync", broken)
    with pytest.raises(OSError, match=f"file.json cannot be written: {os.strerror(number)}.*") as caught:
        write_json(tmp_path / "file.json", {})
    assert "Make room there, or choose a folder" in str(caught.value)
    assert "Errno" not in str(caught.value)
    assert caught.value.errno == number
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match=r"taken/file cannot be written: "):
        write_bytes(tmp_path / "taken" / "file", b"")


def test_a_tree_is_synced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    write_bytes(tree / "a", b"1")
    write_bytes(tree / "deep" / "b", b"2")
    synced = []

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path).as_posix())

    monkeypatch.setattr("adsr_hf.records.files.os.fsync", note)
    sync_tree(tree)
    assert sorted(synced) == [".", "tree", "tree/a", "tree/deep", "tree/deep/b"]
    assert synced.index("tree/a") < synced.index("tree") < synced.index(".")


def test_a_file_and_its_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    replace = os.replace
    monkeypatch.setattr(
        "adsr_hf.records.files.os.fsync", lambda file: events.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    monkeypatch.setattr("adsr_hf.records.files.os.replace", lambda *both: (events.append("replace"), replace(*both)))
    write_bytes(tmp_path / "file", b"")
    assert [Path(event).suffix for event in events] == [".partial", "", ""]
    assert events[1:] == ["replace", str(tmp_path)]


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = [".partial", "file", ".file.12-abc.partial", ".file.partial"]
    for name in (*kept, ".file.12-0123abcd.partial"):
        (tmp_path / name).write_text("")
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
