"""Promotion: the measured bytes, in one step, with the former model kept whole; killed anywhere, nothing is torn."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from adsr_hf.cli.main import main
from adsr_hf.decision import serving
from adsr_hf.decision.decision_file import read_decision
from adsr_hf.decision.promote import promote
from adsr_hf.evaluation.model_files import model_files
from tests.evaluation.fake_records import write_fake_run

Files = dict[str, str]


@pytest.fixture(params=["folder", "link"])
def served(promotion: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the current model, with what a server keeps beside it: a folder, or a link to one."""
    place = tmp_path / "srv" / ("model" if request.param == "folder" else "release-1")
    place.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tmp_path / "old" / name, place / name)
    (place / "notes.txt").write_text("ours")
    (place / "logs").mkdir()
    (place / "logs" / "today.txt").write_text("log")
    if request.param == "link":
        (tmp_path / "srv" / "model").symlink_to("release-1")
    return tmp_path / "srv" / "model"


def folders_with(folder: Path, model: Files) -> list[Path]:
    """Folders below that hold this model whole."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and (path / "model.safetensors").is_file():
            found += [path] if model_files(path) == model else []
    return found


def test_the_candidate_is_served_and_the_former_model_kept(
    promotion: Path, served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, old = model_files(tmp_path / "new"), model_files(tmp_path / "old")
    link = served.is_symlink()
    assert main(["promote", str(promotion), "--to", str(served)]) == 0
    assert served.is_symlink() == link
    assert model_files(served) == new
    (kept,) = folders_with(served.parent, old)
    assert str(kept) in capsys.readouterr().out
    for folder in (served, kept):
        assert (folder / "notes.txt").read_text() == "ours"
        assert (folder / "logs" / "today.txt").read_text() == "log"
    record = json.loads((served / "served.json").read_text())
    assert record["replaced"] == str(kept)
    assert record["decision"] == "promote"
    assert record["override"] is None
    before = sorted(served.parent.iterdir())
    assert main(["promote", str(promotion), "--to", str(served)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert sorted(served.parent.iterdir()) == before


def test_rollback_returns_to_the_kept_copy_where_the_current_folder_is_gone(
    promotion: Path, served: Path, tmp_path: Path
) -> None:
    old = model_files(tmp_path / "old")
    assert main(["promote", str(promotion), "--to", str(served)]) == 0
    shutil.rmtree(tmp_path / "old")
    assert main(["rollback", str(promotion), "--to", str(served)]) == 0
    assert model_files(served) == old
    assert json.loads((served / "served.json").read_text())["command"] == "rollback"


def test_a_model_that_was_served_from_the_folder_of_its_run_can_be_returned_to(
    promotion: Path, tmp_path: Path
) -> None:
    """The rollback point's folder holds the candidate then."""
    old = model_files(tmp_path / "old")
    served = tmp_path / "old"
    assert main(["promote", str(promotion), "--to", str(served)]) == 0
    assert model_files(served) == model_files(tmp_path / "new")
    assert main(["rollback", str(promotion), "--to", str(served)]) == 0
    assert model_files(served) == old


def test_a_link_to_another_folder_is_switched_beside_what_it_points_to(promotion: Path, tmp_path: Path) -> None:
    releases, link = tmp_path / "releases", tmp_path / "srv" / "model"
    releases.mkdir()
    link.parent.mkdir()
    shutil.copytree(tmp_path / "old", releases / "first")
    (releases / "labels.txt").write_text("good, defective")
    (releases / "first" / "labels.txt").symlink_to("../labels.txt")
    link.symlink_to(releases / "first")
    assert main(["promote", str(promotion), "--to", str(link)]) == 0
    assert model_files(link) == model_files(tmp_path / "new")
    assert (link / "labels.txt").read_text() == "good, defective"
    assert link.resolve().parent == releases
    shutil.rmtree(tmp_path / "old")
    assert main(["rollback", str(promotion), "--to", str(link)]) == 0
    assert model_files(link) == model_files(releases / "first")


def test_what_describes_a_model_goes_with_it(promotion: Path, tmp_path: Path) -> None:
    served = tmp_path / "old"
    (served / "README.md").write_text("card of the old model")
    (served / "pytorch_model.bin").write_bytes(b"other weights of the old model")
    assert main(["promote", str(promotion), "--to", str(served)]) == 0
    assert (served / "run.json").read_bytes() == (tmp_path / "new" / "run.json").read_bytes()
    assert not (served / "README.md").exists()
    assert not (served / "pytorch_model.bin").exists()
    (kept,) = tmp_path.glob("old.former-*")
    assert (kept / "README.md").read_text() == "card of the old model"
    assert (kept / "pytorch_model.bin").exists()


def test_only_a_promotion_is_promoted(decision: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = tmp_path / "old"
    before = model_files(served)
    assert main(["promote", str(decision), "--to", str(served)]) == 1
    assert "decides 'keep'" in capsys.readouterr().err
    assert main(["promote", str(decision), "--to", str(served), "--override", " "]) == 1
    assert "must say why" in capsys.readouterr().err
    assert model_files(served) == before
    assert main(["promote", str(decision), "--to", str(served), "--override", "recall of the old one"]) == 0
    assert model_files(served) == model_files(tmp_path / "new")
    record = json.loads((served / "served.json").read_text())
    assert record["override"] == "recall of the old one"
    assert record["decision"] == "keep"


@pytest.mark.parametrize("other", ["model", "nothing", "empty", "file"])
def test_a_folder_that_does_not_serve_the_current_model_is_refused(
    promotion: Path, tmp_path: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    if other == "model":
        write_fake_run(target, train_seed=9)
    elif other == "empty":
        target.mkdir()
    elif other == "file":
        target.write_text("x")
    before = sorted(tmp_path.rglob("*"))
    assert main(["promote", str(promotion), "--to", str(target), "--override", "because"]) == 1
    assert "does not serve the model that the candidate was judged against" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_candidate_that_changed_since_it_was_measured_is_refused(
    promotion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = tmp_path / "old"
    before = model_files(served)
    (tmp_path / "new" / "model.safetensors").write_bytes(b"zeros")
    assert main(["promote", str(promotion), "--to", str(served)]) == 1
    assert "model.safetensors do(es) not have the sha256" in capsys.readouterr().err
    assert model_files(served) == before


def test_a_file_system_that_cannot_exchange_folders_is_refused_with_the_way_out(
    promotion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsupported(first: Path, second: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    served = tmp_path / "old"
    old = model_files(served)
    monkeypatch.setattr(serving, "exchange", unsupported)
    assert main(["promote", str(promotion), "--to", str(served)]) == 1
    told = capsys.readouterr().err
    assert model_files(served) == old
    assert folders_with(tmp_path, old) == [served]
    assert folders_with(tmp_path, model_files(tmp_path / "new")) == [tmp_path / "new"]
    assert os.system(told.partition("can be: ")[2]) == 0
    assert main(["promote", str(promotion), "--to", str(served)]) == 0
    assert model_files(served) == model_files(tmp_path / "new")
    assert model_files(tmp_path / "old.v1") == old


STEPS: dict[str, Callable] = {
    name: getattr(os, name) for name in ("rename", "replace", "link", "mkdir", "symlink", "unlink", "fsync", "rmdir")
}


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that dies before its step-th change of the file system; False where it came through."""
    child = os.fork()
    if child == 0:
        counted = 0

        def dying(call: Callable) -> Callable:
            def step_by_step(*arguments: object, **others: object) -> object:
                nonlocal counted
                counted += 1
                if counted == step:
                    os._exit(9)
                return call(*arguments, **others)

            return step_by_step

        for name, call in STEPS.items():
            setattr(os, name, dying(call))
        serving.exchange = dying(serving.exchange)  # type: ignore[assignment]
        shutil.copyfile = dying(shutil.copyfile)  # type: ignore[assignment]
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_at_any_instant_the_old_or_the_new_model_is_served_whole(
    promotion: Path, served: Path, tmp_path: Path
) -> None:
    new, old = model_files(tmp_path / "new"), model_files(tmp_path / "old")
    decision = read_decision(promotion)
    seen = set()
    for step in range(1, 200):
        shutil.copytree(served.parent, tmp_path / "scene", symlinks=True)
        target = tmp_path / "scene" / "model"
        killed = killed_at(step, partial(promote, decision, target))
        found = model_files(target)
        assert found in (old, new)
        assert (target / "notes.txt").read_text() == "ours"
        seen.add((killed, found == new))
        assert folders_with(target.parent, old), "the former model is whole"
        promote(decision, target)
        assert model_files(target) == new
        assert folders_with(target.parent, old)
        assert not list(target.parent.glob(".model.copying")) + list(target.parent.glob(".model.link"))
        shutil.rmtree(tmp_path / "scene")
        if not killed:
            break
    assert seen == {(True, False), (True, True), (False, True)}


def test_two_at_work_on_one_folder_are_refused(promotion: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    decision = read_decision(promotion)
    with FileLock(tmp_path / ".old.lock"), pytest.raises(serving.ServingError, match="another process"):
        promote(decision, tmp_path / "old")


def test_a_full_disk_leaves_everything_as_it_was(
    promotion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: object, place: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))

    served = tmp_path / "old"
    monkeypatch.setattr(shutil, "copyfile", full)
    before = sorted(path for path in tmp_path.rglob("*") if path.name != ".old.lock")
    assert main(["promote", str(promotion), "--to", str(served)]) == 1
    assert re.search(rf"{served} cannot be written: No space left .*\. Make room there", capsys.readouterr().err)
    assert sorted(path for path in tmp_path.rglob("*") if path.name != ".old.lock") == before
