"""Disks that are full, and disks that lose power: what is written in which order, and what a run says."""

import errno
import os
import pickle
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from adsr_hf.networks.weights import save_tensors
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.records.disk_errors import WriteError, write_errors_name
from adsr_hf.records.files import write_bytes
from adsr_hf.training.checkpoints import verify_checkpoint
from tests.snapshots import assert_identical, snapshot
from tests.tiny import tiny_trainer, tiny_vit

SAVING: dict[str, Any] = {
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 1,
    "logging_strategy": "no",
}


# ---- the order of writes --------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Every sync, rename and removal, in order: its kind, the path, and the size that a synced file had."""
    noted: list[tuple[str, str, int]] = []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def noting_fsync(descriptor: Any) -> None:
        fsync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor if isinstance(descriptor, int) else descriptor.fileno()}")
        noted.append(("sync", path, os.stat(path).st_size))

    def noting_replace(source: Any, target: Any, **kwargs: Any) -> None:
        replace(source, target, **kwargs)
        noted.append(("rename", str(target), 0))

    def noting_unlink(path: Any, *args: Any, **kwargs: Any) -> None:
        unlink(path, *args, **kwargs)
        noted.append(("remove", str(path), 0))

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    monkeypatch.setattr(os, "unlink", noting_unlink)
    return noted


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds paths in /proc")
def test_all_is_on_disk_before_a_checkpoint_counts_and_before_an_older_one_goes(
    tmp_path: Path, calls: list[tuple[str, str, int]]
) -> None:
    sizes: dict[str, int] = {}
    trainer = tiny_trainer(tmp_path, max_steps=2, **(SAVING | {"publish": "teacher"}))
    trainer.train()
    new, old = tmp_path / "checkpoint-2", tmp_path / "checkpoint-1"
    sizes = {str(path): path.stat().st_size for path in new.iterdir() if path.name != "manifest.json"}
    assert len(sizes) == 12
    sealed = calls.index(("rename", str(new / "manifest.json"), 0))
    # In their final length, with the folders that name them.
    synced = {(path, size) for kind, path, size in calls[:sealed] if kind == "sync"}
    assert synced >= set(sizes.items())
    folders = {path for kind, path, _ in calls[:sealed] if kind == "sync"}
    assert {str(new), str(tmp_path)} <= folders
    # The manifest's name, before anything of the older one goes.
    removed = [index for index, (kind, path, _) in enumerate(calls) if kind == "remove" and path.startswith(str(old))]
    assert removed
    assert any(kind == "sync" and path == str(new) for kind, path, _ in calls[sealed + 1 : removed[0]])
    # Its manifest first, and for good.
    assert calls[removed[0]][1] == str(old / "manifest.json")
    assert any(kind == "sync" and path == str(old) for kind, path, _ in calls[removed[0] + 1 : removed[1]])


def test_older_checkpoints_go_only_once_the_new_one_is_sealed(tmp_path: Path, monkeypatch: Any) -> None:
    trainer = tiny_trainer(tmp_path, **SAVING)
    replace = os.replace

    def full_disk(source: Any, target: Any) -> None:
        if str(target).endswith("checkpoint-2/manifest.json"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(WriteError, match=r"checkpoint-2 cannot be written.*No space left"):
        trainer.train()
    verify_checkpoint(tmp_path / "checkpoint-1")
    monkeypatch.undo()
    continued = tiny_trainer(tmp_path, **SAVING)
    continued.train(resume_from_checkpoint=True)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-3"]
    verify_checkpoint(tmp_path / "checkpoint-3")


# ---- full disks -----------------------------------------------------------------------------------------------------


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """The system writes no file beyond ``size`` bytes, which fails as a full disk does: in the middle."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "torch": lambda path: torch.save({"x": torch.zeros(100_000)}, path),
    "safetensors": lambda path: save_file({"x": torch.zeros(100_000)}, path),
    "text": lambda path: path.write_text("x" * 400_000),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_whichever_library_writes_the_path_and_the_way_on_are_named(tmp_path: Path, writer: Any) -> None:
    path = tmp_path / "file"
    with (
        files_end_at(10_000),
        pytest.raises(
            WriteError, match=rf"^{path} cannot be written: .+ MB are free there\)\. Kept\. Make room there, or "
        ),
        write_errors_name(path, kept="Kept"),
    ):
        writer(path)


@pytest.mark.parametrize("writer", [WRITERS["torch"], WRITERS["safetensors"]], ids=["torch", "safetensors"])
def test_a_folder_that_is_gone_is_named_too(tmp_path: Path, writer: Any) -> None:
    path = tmp_path / "gone" / "file"
    with (
        pytest.raises(WriteError, match=f"^{path} cannot be written"),
        write_errors_name(path),
    ):
        writer(path)


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="CUDA error"), write_errors_name(Path()):
        raise RuntimeError("CUDA error")


def test_what_is_written_inside_something_is_named_once(tmp_path: Path) -> None:
    """And arrives in other processes as it is."""
    with files_end_at(10_000), pytest.raises(WriteError) as caught, write_errors_name(tmp_path, kept="Kept"):
        write_bytes(tmp_path / "file", b"x" * 100_000)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path} cannot be written: File too large (")
    assert (said.count("cannot be written"), said.count("Make room"), said.count("Kept")) == (1, 1, 1)
    assert caught.value.errno == errno.EFBIG
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.errno, again.path) == (said, errno.EFBIG, tmp_path)


def test_raw_tensors_name_their_file(tmp_path: Path) -> None:
    with files_end_at(10_000), pytest.raises(WriteError, match=r"teacher\.safetensors cannot be written"):
        save_tensors(tmp_path / "teacher.safetensors", {"x": torch.zeros(100_000)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with all three of its checkpoints, and what it ended with."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = tiny_trainer(folder, max_steps=3, **(SAVING | {"save_total_limit": 3}))
    trainer.train()
    assert max(path.stat().st_size for path in (folder / "checkpoint-3").iterdir()) > 40_000
    return folder, snapshot(trainer)


@pytest.mark.parametrize("size", [500, 5_000, 20_000, 40_000])
@pytest.mark.parametrize("first", [True, False])
def test_a_disk_that_fills_up_in_a_checkpoint_costs_that_one_alone(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]], size: int, first: bool
) -> None:
    """Whichever file it hits, the run names the checkpoint and, given room, ends as if nothing had happened."""
    cut, resume = ("checkpoint-1", None) if first else ("checkpoint-2", True)
    if not first:
        shutil.copytree(whole[0] / "checkpoint-1", tmp_path / "checkpoint-1")
    trainer = tiny_trainer(tmp_path, max_steps=3, **SAVING)
    with files_end_at(size), pytest.raises(WriteError, match=f"{tmp_path / cut} cannot be written"):
        trainer.train(resume_from_checkpoint=resume)
    continued = tiny_trainer(tmp_path, model=tiny_vit(seed=0 if first else 99), max_steps=3, **SAVING)
    continued.train(resume_from_checkpoint=resume)
    assert_identical(snapshot(continued), whole[1])


def test_a_model_that_cannot_be_saved_names_its_folder(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    with files_end_at(5_000), pytest.raises(WriteError, match=rf"^{tmp_path}(/\S+)? cannot be written"):
        trainer.save_model()
