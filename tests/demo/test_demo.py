"""The demo itself, with a budget of a few steps: runs, page, and going on after an interruption."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adsr_hf.demo import cells as demo_cells
from adsr_hf.demo.cells import Cell, run_cells
from adsr_hf.demo.page import demo_page
from adsr_hf.demo.settings import ARMS, EVALUATED_EPSILONS

SHORT = {
    "max_steps": 3,
    "epsilon_ramp_epochs": 0,
    "max_train_images": 60,
    "max_eval_images": 20,
    "attack_steps": 2,
    "eval_attack_steps": 2,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """Each arm once, in this process."""
    patch = pytest.MonkeyPatch()
    settings = demo_cells.arm_settings
    patch.setattr(demo_cells, "arm_settings", lambda arm: {**settings(arm), **SHORT})
    folder = tmp_path_factory.mktemp("demo")
    cells = [Cell(arm, 0, folder / arm) for arm in ARMS]
    for cell in cells:
        demo_cells._run_cell(cell, threads=1)
    yield cells
    patch.undo()


def test_each_cell_is_an_ordinary_run_with_records(finished: list[Cell]) -> None:
    for cell in finished:
        result = cell.result()
        assert result["summary"]["threats"] == [f"Linf {epsilon}" for epsilon in EVALUATED_EPSILONS]
        assert result["summary"]["data"]["images"] == 20
        for name in ("model.safetensors", "config.json", "run.json", "evaluation/records.parquet"):
            assert (cell.folder / name).is_file(), name


def test_finished_cells_are_not_run_again(finished: list[Cell]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished[0].folder.parent.rglob("*")}
    assert [cell for cell, _ in run_cells(finished, workers=2)] == finished
    assert {path: path.stat().st_mtime_ns for path in finished[0].folder.parent.rglob("*")} == before


def test_a_cell_with_other_settings_counts_as_unfinished(finished: list[Cell], tmp_path: Path) -> None:
    assert Cell("adsr", 1, finished[2].folder).result() is None
    assert Cell("adsr", 0, tmp_path / "elsewhere").result() is None


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"key": 1}'])
def test_a_damaged_cell_is_named_with_the_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "cell.json").write_text(content)
    with pytest.raises(ValueError, match=r"cell\.json is damaged: .*; remove .* to run it again"):
        Cell("adsr", 0, tmp_path).result()


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not a folder of the demo"):
        demo_cells._run_cell(Cell("clean", 0, tmp_path / "letters"), threads=1)
    assert (tmp_path / "letters" / "mine.txt").read_text() == "keep"


class _Page(HTMLParser):
    """Collects tags and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "data") or (tag == "link")]


def test_page_is_self_contained_and_tells_the_figures(finished: list[Cell]) -> None:
    results = [result for cell in finished if (result := cell.result()) is not None]
    page = _Page()
    text = demo_page(results, "a <test> machine", 12.0)
    page.feed(text)
    assert page.fetched == []
    assert page.tags.count("svg") == 3
    assert "a &lt;test&gt; machine" in text
    assert re.search(r"each of 20 test images", text)
    accuracy = results[2]["summary"]["figures"]["accuracy"]["value"]
    assert f"<td>{100 * accuracy:.1f} ± 0.0</td>" in text


def test_a_finished_cell_is_kept_until_its_successor_is_finished(
    finished: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("clean", 0, tmp_path / "clean")
    shutil.copytree(finished[0].folder, cell.folder)
    before = (cell.folder / "model.safetensors").read_bytes()
    other = "0" * 64
    monkeypatch.setattr(Cell, "key", other)

    def fail(cell: Cell) -> None:
        raise RuntimeError("out of memory")

    whole = demo_cells._train_and_measure
    monkeypatch.setattr(demo_cells, "_train_and_measure", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            demo_cells._run_cell(cell, threads=1)
        assert (tmp_path / "clean.former" / "model.safetensors").read_bytes() == before
    monkeypatch.setattr(demo_cells, "_train_and_measure", whole)
    assert demo_cells._run_cell(cell, threads=1)["key"] == other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean"]
