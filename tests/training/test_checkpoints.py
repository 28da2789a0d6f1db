import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adsr_hf.networks.weights import CheckpointError, save_tensors
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.records.files import write_json
from adsr_hf.training.checkpoints import number_of_processes, rotate_checkpoints, verify_checkpoint, write_manifest

SHA256 = "0" * 64
FILES = {"model.safetensors": bytes(range(256)) * 20, "a/b.json": b'{"step": 3}', "empty": b""}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed checkpoint of three small files, for tests that mend what they break."""
    folder = tmp_path_factory.mktemp("run") / "checkpoint-3"
    (folder / "a").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    write_manifest(folder)
    return folder


@pytest.fixture
def checkpoint(sealed: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(sealed, tmp_path / "checkpoint-3"))


# ---- the manifest ---------------------------------------------------------------------------------------------------


def test_an_untouched_checkpoint_is_whole(checkpoint: Path) -> None:
    verify_checkpoint(checkpoint)
    assert set(json.loads((checkpoint / "manifest.json").read_text())["files"]) == set(FILES)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_noticed(sealed: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name, content in FILES.items() if content]))
    position = data.draw(st.integers(0, len(FILES[name]) - 1))
    changed = bytearray(FILES[name])
    changed[position] ^= data.draw(st.integers(1, 255))
    (sealed / name).write_bytes(changed)
    try:
        with pytest.raises(CheckpointError, match=f"is damaged: {name} has another sha256"):
            verify_checkpoint(sealed)
    finally:
        (sealed / name).write_bytes(FILES[name])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(FILES["model.safetensors"]) - 1))
def test_any_truncation_is_noticed(sealed: Path, length: int) -> None:
    whole = FILES["model.safetensors"]
    (sealed / "model.safetensors").write_bytes(whole[:length])
    try:
        with pytest.raises(CheckpointError, match=f"model.safetensors has {length} bytes instead of {len(whole)}"):
            verify_checkpoint(sealed)
    finally:
        (sealed / "model.safetensors").write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=f"checkpoint-3 is damaged: {name} is missing"):
        verify_checkpoint(checkpoint)


def test_files_that_were_added_later_do_no_harm(checkpoint: Path) -> None:
    (checkpoint / "notes.txt").write_text("mine")
    verify_checkpoint(checkpoint)


def test_a_missing_manifest_means_unfinished(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint-3 has no manifest\.json: it was not finished"):
        verify_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"files": ',
        "{}",
        "[]",
        '{"files": {"empty": {}}}',
        '{"schema_version": 1, "files": {"empty": {}}}',
        '{"schema_version": 1, "files": [["empty"]]}',
        "[" * 100_000,
    ],
)
def test_an_unreadable_manifest_is_an_error(checkpoint: Path, content: str) -> None:
    (checkpoint / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"is damaged: manifest\.json cannot be read"):
        verify_checkpoint(checkpoint)


def _rewrite_manifest(checkpoint: Path, **changed: Any) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    (checkpoint / "manifest.json").write_text(json.dumps(manifest | changed))


@pytest.mark.parametrize(
    "entries",
    [
        {"../outside": {"bytes": 6, "sha256": SHA256}},
        {"a/../../outside": {"bytes": 6, "sha256": SHA256}},
        {"/etc/hostname": {"bytes": 6, "sha256": SHA256}},
        {"empty": {"bytes": "0", "sha256": SHA256}},
        {"empty": {"bytes": False, "sha256": SHA256}},
        {"empty": {"bytes": None, "sha256": None}},
        {"absent": {"bytes": None, "sha256": None}},
        {"empty": {"bytes": 0, "sha256": SHA256[1:]}},
        {"empty": {"bytes": 0, "sha256": [SHA256]}},
    ],
)
def test_an_impossible_entry_is_refused(checkpoint: Path, entries: dict[str, Any]) -> None:
    (checkpoint.parent / "outside").write_bytes(b"secret")
    _rewrite_manifest(checkpoint, files=entries)
    with pytest.raises(CheckpointError, match=r"is damaged: manifest\.json has an impossible entry for"):
        verify_checkpoint(checkpoint)


def test_a_manifest_of_another_schema_is_refused(checkpoint: Path) -> None:
    _rewrite_manifest(checkpoint, schema_version=2)
    with pytest.raises(CheckpointError, match=r"manifest\.json of schema 2, and this version reads 1"):
        verify_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "optimizer.bin", "rng_state_1.pth", "adapter_config.json", "process_7.safetensors"]
)
def test_a_file_that_would_be_read_cannot_be_added(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_bytes(b"planted")
    with pytest.raises(CheckpointError, match=f"is damaged: {name} is there, but not in manifest"):
        verify_checkpoint(checkpoint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["..", "empty"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(["schema_version", "files", "bytes", "sha256", "../x", "empty", "\0"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(st.text(max_size=5) | st.sampled_from(["..", "a/b.json", "\0"]), JSON, min_size=1) | JSON)
def test_no_manifest_at_all_can_do_more_than_be_refused(sealed: Path, files: Any) -> None:
    whole = (sealed / "manifest.json").read_bytes()
    (sealed / "manifest.json").write_text(json.dumps({"schema_version": 1, "files": files}))
    try:
        with pytest.raises(CheckpointError):
            verify_checkpoint(sealed)
    finally:
        (sealed / "manifest.json").write_bytes(whole)


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="checkpoint-7 does not exist"):
        verify_checkpoint(tmp_path / "checkpoint-7")


def test_json_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        write_json(path, {"step": object()})
    assert json.loads(path.read_text()) == {"step": 1}
    write_json(path, {"step": 2})
    assert [(file.name, json.loads(file.read_text())) for file in tmp_path.iterdir()] == [("run.json", {"step": 2})]


# ---- which checkpoint -----------------------------------------------------------------------------------------------


def test_folders_are_sorted_by_step(tmp_path: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-9", "checkpoint-100", "checkpoint-x", "checkpoint-1-old", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-5").write_text("a file")
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["checkpoint-9", "checkpoint-10", "checkpoint-100"]
    assert checkpoint_folders(tmp_path / "absent") == []


@settings(max_examples=50, deadline=None)
@given(
    steps=st.sets(st.integers(1, 30), min_size=1, max_size=8),
    unfinished=st.sets(st.integers(1, 30)),
    limit=st.none() | st.integers(1, 5),
    data=st.data(),
)
def test_rotation_keeps_the_newest_finished_ones(
    steps: set[int], unfinished: set[int], limit: int | None, data: st.DataObject
) -> None:
    best = data.draw(st.sampled_from(sorted(steps)))
    new = max(steps)
    unfinished = (unfinished & steps) - {best, new}
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        for step in steps:
            (run / f"checkpoint-{step}").mkdir()
            if step not in unfinished:
                write_manifest(run / f"checkpoint-{step}")
        rotate_checkpoints(run, limit, {f"checkpoint-{new}", f"checkpoint-{best}"})
        left = {int(folder.name.partition("-")[2]) for folder in checkpoint_folders(run)}
    assert {new, best} <= left
    if limit is None:
        assert left == steps
        return
    assert len(left) == min(len(steps), max(limit, len({new, best})))
    for step in steps - left:
        # Nothing finished goes while something unfinished stays, nor something newer while something older stays.
        others = left - {new, best}
        assert step in unfinished or not others & unfinished
        assert not [other for other in others if other < step and (other in unfinished) == (step in unfinished)]


def test_the_number_of_processes_is_read_from_the_files(tmp_path: Path) -> None:
    assert number_of_processes(tmp_path) == 0
    for index in range(11):
        save_tensors(tmp_path / f"process_{index}.safetensors", {"x": torch.zeros(1)})
    assert number_of_processes(tmp_path) == 11
