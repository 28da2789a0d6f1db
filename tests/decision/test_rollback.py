"""Going back: the very bytes of the decision, once, or a refusal that leaves everything as it is."""

import json
from pathlib import Path

import pytest

from adsr_hf.cli.main import main
from adsr_hf.evaluation.model_files import model_files
from tests.evaluation.fake_records import write_fake_run


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir() if path.is_file()}


def test_it_brings_back_the_model_and_then_does_nothing(
    decision: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = write_fake_run(tmp_path / "served", train_seed=9)
    assert main(["rollback", str(decision), "--to", str(served)]) == 0
    assert "again" in capsys.readouterr().out
    assert model_files(served) == model_files(tmp_path / "old")
    before = snapshot(served)
    assert main(["rollback", str(decision), "--to", str(served)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert snapshot(served) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] in ([], [".served.lock"])


def test_an_empty_or_missing_target_is_filled(decision: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "deep/missing"):
        assert main(["rollback", str(decision), "--to", str(tmp_path / name)]) == 0
        assert model_files(tmp_path / name) == model_files(tmp_path / "old")


def test_a_changed_source_is_refused(decision: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = write_fake_run(tmp_path / "served", train_seed=9)
    before = snapshot(served)
    (tmp_path / "old" / "model.safetensors").write_bytes(b"other weights")
    assert main(["rollback", str(decision), "--to", str(served)]) == 1
    assert "model.safetensors do(es) not have the sha256" in capsys.readouterr().err
    assert snapshot(served) == before


def test_a_missing_source_is_refused(decision: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").rename(tmp_path / "moved")
    assert main(["rollback", str(decision), "--to", str(tmp_path / "served")]) == 1
    assert "is gone; restore it from a backup" in capsys.readouterr().err


def test_a_folder_that_is_no_model_is_left_alone(
    decision: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "mine.txt").write_text("keep")
    assert main(["rollback", str(decision), "--to", str(letters)]) == 1
    assert "is not a model's folder" in capsys.readouterr().err
    assert (letters / "mine.txt").read_text() == "keep"


def test_a_file_that_is_no_decision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"kind": "comparison"}))
    assert main(["rollback", str(path), "--to", str(tmp_path / "served")]) == 1
    assert "is not a decision of adsr gate" in capsys.readouterr().err


def test_what_else_the_served_folder_holds_is_kept(decision: Path, tmp_path: Path) -> None:
    served = write_fake_run(tmp_path / "served", train_seed=9)
    (served / "notes.txt").write_text("ours")
    assert main(["rollback", str(decision), "--to", str(served)]) == 0
    assert (served / "notes.txt").read_text() == "ours"
    assert (served / "evaluation" / "summary.json").is_file()


def test_a_link_to_the_served_folder_stays_one(decision: Path, tmp_path: Path) -> None:
    served = write_fake_run(tmp_path / "served", train_seed=9)
    (tmp_path / "current").symlink_to(served)
    before = model_files(served)
    for _ in range(2):
        assert main(["rollback", str(decision), "--to", str(tmp_path / "current")]) == 0
    assert (tmp_path / "current").is_symlink()
    assert model_files(tmp_path / "current") == model_files(tmp_path / "old")
    assert model_files(served) == before


def test_what_was_served_is_kept(decision: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = write_fake_run(tmp_path / "served", train_seed=9)
    before = model_files(served)
    assert main(["rollback", str(decision), "--to", str(served)]) == 0
    (kept,) = tmp_path.glob("served.former-*")
    assert model_files(kept) == before
    assert str(kept) in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["weights", "weights and config"])
def test_a_damaged_model_is_replaced(decision: Path, tmp_path: Path, damage: str) -> None:
    served = write_fake_run(tmp_path / "served", train_seed=9)
    (served / "model.safetensors").unlink()
    if damage != "weights":
        (served / "config.json").write_bytes(b"\xff{")
    assert main(["rollback", str(decision), "--to", str(served)]) == 0
    assert model_files(served) == model_files(tmp_path / "old")


def test_folders_inside_each_other_and_files_are_refused(
    decision: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", str(decision), "--to", str(tmp_path / "old" / "inside")]) == 1
    assert "lie inside each other" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    assert main(["rollback", str(decision), "--to", str(tmp_path / "file")]) == 1
    assert "is a file" in capsys.readouterr().err


def test_without_safetensors_there_is_nothing_to_return_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, old = (write_fake_run(tmp_path / name, train_seed=seed) for name, seed in (("new", 1), ("old", 2)))
    (old / "model.safetensors").rename(old / "pytorch_model.bin")
    policy = tmp_path / "policy.yaml"
    policy.write_text("minimum_gain: {accuracy: 0.5}")
    assert main(["gate", str(new), str(old), "--policy", str(policy), "--output", str(tmp_path / "d.json")]) == 1
    told = capsys.readouterr().err
    assert "has pickled weights (pytorch_model.bin)" in told
    assert "save_pretrained(" in told
