"""What a running cell leaves in its folder, and what a waiting study shows of it."""

import time
from pathlib import Path

import pytest
from tqdm import tqdm

from adsr_hf.runs.log import RunProgress
from adsr_hf.study.cells import Cell, begin
from adsr_hf.study.description import read_study
from adsr_hf.study.live import PROGRESS_FILE, LiveCells, doing, tell_measuring, tell_training
from adsr_hf.study.work import run_cell
from tests.study.files import write_study


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Cell, ...]:
    return read_study(write_study(tmp_path)).cells


def test_a_cell_says_how_far_it_is_what_it_reached_and_how_long_it_takes(cells: tuple[Cell, ...]) -> None:
    folder = cells[0].folder
    assert doing(cells[0], 0) is None
    tell_training(folder, RunProgress(step=3, steps=9, seconds_left=200, evaluation=None))
    assert doing(cells[0], 0) == "step 3 of 9, about 3 min of training left"
    tell_training(folder, RunProgress(step=4, steps=9, seconds_left=20, evaluation="student 50.0% accurate"))
    assert doing(cells[0], 0) == "step 4 of 9, about 20 s of training left; student 50.0% accurate"
    tell_measuring(folder, "teacher")
    assert doing(cells[0], 0) == "trained; measuring the teacher"
    # Left by an attempt before this one.
    assert doing(cells[0], time.time() + 1) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"time": "then", "words": "x"}', '{"time": 9e99}'])
def test_a_file_that_cannot_be_read_shows_nothing(cells: tuple[Cell, ...], text: str) -> None:
    cells[0].folder.mkdir(parents=True)
    (cells[0].folder / PROGRESS_FILE).write_text(text)
    assert doing(cells[0], 0) is None


def test_a_log_file_gets_a_line_for_each_running_cell_and_no_more_within_a_minute(
    cells: tuple[Cell, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with tqdm(total=4, disable=True) as bar, LiveCells(cells, 2, bar) as live:
        tell_measuring(cells[0].folder, "student")
        tell_measuring(cells[1].folder, "student")
        live.show()
        tell_measuring(cells[1].folder, "teacher")
        live.show()
        live.ended(cells[0])
        live.show()
    printed = capsys.readouterr().out
    assert printed == "AT, seed 0: trained; measuring the student\nAT + LS, seed 0: trained; measuring the student\n"


def test_a_cell_tells_while_it_runs_and_nothing_stays_behind(
    cells: tuple[Cell, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []

    def training(folder: Path, progress: RunProgress) -> None:
        tell_training(folder, progress)
        told.append(doing(cells[0], 0))

    def measuring(folder: Path, weights: str) -> None:
        tell_measuring(folder, weights)
        told.append(doing(cells[0], 0))

    monkeypatch.setattr("adsr_hf.study.work.tell_training", training)
    monkeypatch.setattr("adsr_hf.study.work.tell_measuring", measuring)
    begin(cells[0])
    assert run_cell(cells[0].folder, threads=None)
    assert [words.partition(",")[0].partition(";")[0] for words in told if words] == [
        "step 1 of 2",
        "step 2 of 2",
        "step 2 of 2",
        "trained",
    ]
    assert not (cells[0].folder / PROGRESS_FILE).exists()
