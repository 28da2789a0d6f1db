"""``adsr report`` as a user meets it."""

from pathlib import Path

import pytest

from adsr_hf.cli.main import main
from tests.report.reading import write_run


def test_it_writes_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", noise_accuracy=None)
    output = tmp_path / "pages" / "report.html"
    status = main(["report", str(run), "-o", str(output), "--language", "ja", "--title", "外観検査 A & B"])
    assert status == 0
    text = output.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<h1>外観検査 A &amp; B</h1>" in text
    assert f"report: {output} (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["report"], 2, "the following arguments are required: RUN"),
        (["report", "empty", "--language", "fr"], 2, "invalid choice: 'fr'"),
        (["report", "empty"], 1, "holds no summary.json with records.parquet; make them with adsr evaluate"),
        (["report", "nowhere"], 1, "there is no folder 'nowhere'"),
        (["report", *["empty"] * 7], 1, "a report shows 1 to 6"),
        (["report", "empty", "-o", "empty"], 1, "name a file in it"),
    ],
)
def test_mistakes_are_told_with_a_way_out(
    words: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(words) == status
    assert message in capsys.readouterr().err
    assert list(tmp_path.rglob("*.html")) == []
