"""``adsr study`` as a user types it; whole studies are run in tests/study/test_runner.py."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from adsr_hf.cli.main import main
from adsr_hf.study.cells import begin, finish, is_finished
from adsr_hf.study.description import read_study
from tests.study.files import fake_study, finish_with_fakes, write_study


def test_help_explains_every_key_of_a_study_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--help"]) == 0
    printed = capsys.readouterr().out
    for key in ("plan", "arms", "variants", "baseline", "launch", "max_eval_images (default: None)"):
        assert f"\n  {key}\n" in printed


@pytest.mark.parametrize(
    ("changes", "words", "status", "message"),
    [
        ({"recipe": "gone.yaml"}, [], 2, "gone.yaml does not exist"),
        ({"arms": {"AT": {}, "last": {"recipe": "gone.yaml"}}}, [], 2, "arm 'last': recipe"),
        ({"basline": "AT"}, [], 2, "did you mean 'baseline'"),
        ({}, ["--parallel", "0"], 2, "--parallel=0 must be at least 1"),
        ({}, ["--paralel", "2"], 2, "--paralel"),
    ],
)
def test_mistakes_are_named_before_anything_starts(
    changes: dict[str, Any],
    words: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_study(tmp_path, **changes)
    assert main(["study", str(path), *words]) == status
    assert message in capsys.readouterr().err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["recipe.yaml", "study.yaml"]


def test_a_missing_study_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "gone.yaml"]) == 2
    assert "study gone.yaml does not exist" in capsys.readouterr().err


def test_a_finished_study_writes_its_tables_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = fake_study(tmp_path, {"AT": {}, "AT + LS": {}})
    assert main(["study", str(tmp_path / "study.yaml")]) == 0
    printed = capsys.readouterr().out
    assert "A study: 4 cells (2 arms × 2 seeds), 4 finished; to" in printed
    assert "AT + LS" in printed
    for name in ("study.json", "table.md", "table.csv"):
        assert (study.output_dir / name).is_file()


def test_what_is_finished_can_be_looked_at_while_the_rest_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = fake_study(tmp_path, {"AT": {}})
    failed = study.cells[1]
    begin(failed)
    finish(failed, error="RuntimeError: x", seconds=1.0)
    assert main(["study", str(tmp_path / "study.yaml"), "--only_table", "true"]) == 1
    printed = capsys.readouterr().out
    assert "AT + LS, seed 0: RuntimeError: x" in printed
    assert "AT + LS, seed 1: not run to its end" in printed
    assert "1 of 4 cells failed; the same command tries them again" in printed
    assert [is_finished(cell) for cell in study.cells] == [True, False, True, False]


def test_a_changed_study_needs_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = fake_study(tmp_path, {"AT": {}, "AT + LS": {}})
    content = yaml.safe_load((tmp_path / "study.yaml").read_text())
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content | {"settings": {"learning_rate": 0.5}}))
    before = {path: path.stat().st_mtime_ns for path in study.output_dir.rglob("*")}
    assert main(["study", str(tmp_path / "study.yaml")]) == 1
    told = capsys.readouterr().err
    assert "nothing was run" in told
    assert "learning_rate was 0.01 and is now 0.5" in told
    assert "another --output_dir" in told
    assert {path: path.stat().st_mtime_ns for path in study.output_dir.rglob("*")} == before

    other = read_study((tmp_path / "study.yaml"), output_dir=tmp_path / "other")
    for cell in other.cells:
        finish_with_fakes(cell)
    assert main(["study", str(tmp_path / "study.yaml"), "--output_dir", str(tmp_path / "other")]) == 0
