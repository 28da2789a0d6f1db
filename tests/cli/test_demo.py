"""The demo is a study that comes with the package: a table, a page, checkpoints, and going on where it stopped."""

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import adsr_hf.cli.main
from adsr_hf.cli import demo
from adsr_hf.settings.yaml_files import read_settings

SHORT = "{max_steps: 2, epsilon_ramp_epochs: 0, max_train_images: 60, max_eval_images: 20, eval_attack_steps: 2}"


class Page(HTMLParser):
    """Collects what a browser would fetch, and counts tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = [value or "" for name, value in attrs if name in ("src", "data") or tag == "link"]
        self.fetched += [address for address in named if not address.startswith("data:")]


@pytest.fixture
def short_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose demo has one seed and two steps."""
    package = tmp_path / "short_demo"
    shutil.copytree(Path(str(demo.__file__)).parents[1] / "study" / "demo", package / "demo")
    study = package / "demo" / "study.yaml"
    text = study.read_text().replace("seeds: [0, 1, 2]", f"seeds: [0]\nsettings: {SHORT}")
    study.write_text(text.replace("Linf 0.05, Linf 0.1, Linf 0.15, Linf 0.2", "Linf 0.1, Linf 0.15"))
    assert read_settings(study)["seeds"] == [0]
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(demo, "PACKAGE", "short_demo")
    return tmp_path / "out"


def test_it_trains_three_ways_and_shows_what_each_buys(short_demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert adsr_hf.cli.main.main(["demo", "--output_dir", str(short_demo), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    for arm in ("clean", "AT", "ADSR"):
        assert f"\n{arm}" in printed
        assert (short_demo / arm / "seed0" / "model.safetensors").is_file()
    page = Page()
    text = (short_demo / "index.html").read_text(encoding="utf-8")
    page.feed(text)
    assert page.fetched == []
    assert page.tags.count("svg") > 5
    assert "Three ways to train" in text
    assert "Regenerate: adsr demo." in text
    table = (short_demo / "table.md").read_text()
    assert table.startswith("# Three ways to train")
    assert "\nRegenerate: `adsr demo`. " in table

    before = {path: path.stat().st_mtime_ns for path in short_demo.rglob("*.safetensors")}
    assert adsr_hf.cli.main.main(["demo", "--output_dir", str(short_demo)]) == 0
    assert {path: path.stat().st_mtime_ns for path in short_demo.rglob("*.safetensors")} == before


def test_figures_that_cannot_be_drawn_are_told_before_training(
    short_demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("adsr_hf.report.drawing.find_spec", lambda name: None)
    assert adsr_hf.cli.main.main(["demo", "--output_dir", str(short_demo), "--workers", "1"]) != 0
    assert "pip install 'adsr_hf[report]'" in capsys.readouterr().err
    assert not short_demo.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "AT" / "seed0").mkdir(parents=True)
    letter = tmp_path / "AT" / "seed0" / "letter.txt"
    letter.write_text("keep")
    assert adsr_hf.cli.main.main(["demo", "--output_dir", str(tmp_path)]) != 0
    assert letter.read_text() == "keep"


def test_a_folder_whose_name_the_report_would_split_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "line 1,2"
    assert adsr_hf.cli.main.main(["demo", "--output_dir", str(folder)]) == adsr_hf.cli.main.USAGE
    assert "has a comma" in capsys.readouterr().err
    assert not folder.exists()
