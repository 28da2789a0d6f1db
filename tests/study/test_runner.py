"""Studies as commands: killed, stopped, failing, launched; what is finished is never run again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adsr_hf.cli.main import main
from adsr_hf.study.cells import begin, end_of, is_finished
from adsr_hf.study.description import Study, read_study
from adsr_hf.study.runner import refuse_other_cells, run_cells
from tests.records.test_folder_lock import start_owner
from tests.study.files import fake_study, write_study

ROOT = Path(__file__).parents[2]
# Long enough to be caught in the middle, with a checkpoint every few steps.
LONG = {"max_steps": 400, "eval_steps": 400, "save_strategy": "steps", "save_steps": 20, "save_total_limit": 2}


def command(path: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "adsr_hf", "study", str(path), *words]


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts commands, and ends what is left of them."""
    processes: list[subprocess.Popen[str]] = []

    def start(words: list[str]) -> "subprocess.Popen[str]":
        # Where the tests run as a background job, Ctrl-C would be ignored from the start.
        code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        code += "from adsr_hf.cli.main import main; sys.exit(main(sys.argv[1:]))"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words[3:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def workers_of(study: Study) -> list[int]:
    """Processes that work on the study's cells: they hold its logs open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith(str(study.output_dir)):
            found.append(int(entry.parts[2]))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds processes in /proc")
def test_a_killed_study_goes_on_where_it_was(tmp_path: Path, started: Callable[..., "subprocess.Popen[str]"]) -> None:
    changes: dict[str, Any] = {"settings": LONG, "seeds": [0], "baseline": "short"}
    path = write_study(tmp_path, arms={"short": {"max_steps": 2, "eval_steps": 2}, "long": {}}, **changes)
    study = read_study(path)
    short, long = study.cells
    process = started(command(path))
    wait_for(lambda: (long.folder / "checkpoint-40" / "manifest.json").is_file(), process)
    assert is_finished(short)
    process.kill()
    process.wait()
    wait_for_end(study)
    before = contents(short.folder)
    checkpoint = max(int(folder.name.rpartition("-")[2]) for folder in long.folder.glob("checkpoint-*"))
    assert checkpoint < 400

    again = started(command(path))
    printed, _ = again.communicate(timeout=300)
    assert again.returncode == 0, printed
    assert "2 cells (2 arms × 1 seed), 1 finished" in printed
    assert contents(short.folder) == before
    assert is_finished(long)
    outcome = end_of(long)
    assert outcome is not None
    assert outcome.continued
    state = json.loads((long.folder / "run.json").read_text())
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == list(range(1, 401))
    assert "training starts anew" not in (long.folder / "log.txt").read_text()
    table = (study.output_dir / "table.md").read_text()
    assert "| short | 1 |" in table
    assert "| long | 1 |" in table

    # A third time there is nothing to do.
    before = contents(short.folder) | contents(long.folder)
    third = started(command(path))
    assert "2 finished; to" in third.communicate(timeout=120)[0]
    assert contents(short.folder) | contents(long.folder) == before


def wait_for_end(study: Study) -> None:
    """The orphans notice within moments that nobody holds their input any more."""
    deadline = time.monotonic() + 10
    while workers_of(study):
        assert time.monotonic() < deadline, "a process of the killed study still works on its cells"
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint(tmp_path: Path, started: Callable[..., "subprocess.Popen[str]"]) -> None:
    path = write_study(tmp_path, settings=LONG | {"save_steps": 1000}, seeds=[0], arms={"AT": {}})
    cell = read_study(path).cells[0]
    process = started(command(path))
    wait_for(lambda: "/400  " in log_of(cell.folder), process)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130, printed
    assert "Stopping once what is being trained has saved" in printed
    assert "The same command goes on from there" in printed
    assert [folder.name for folder in cell.folder.glob("checkpoint-*/manifest.json")]
    assert end_of(cell) is None
    assert not (tmp_path / "out" / "study.json").exists()


def log_of(folder: Path) -> str:
    log = folder / "log.txt"
    return log.read_text() if log.is_file() else ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds processes in /proc")
def test_a_process_that_dies_costs_its_own_cell_alone(tmp_path: Path) -> None:
    path = write_study(tmp_path, seeds=[0], arms={"dies": LONG, "fails": {"dataset": "nowhere"}, "AT": {}})
    study = read_study(path)
    dies, fails, lives = study.cells
    done = []
    generator = run_cells(study.cells, parallel=1, threads=1, launch=None)
    # The first cell's process is killed once it trains, as the system does when memory runs out.
    killer = subprocess.Popen([sys.executable, "-c", _KILLER, str(study.output_dir), str(dies.folder / "log.txt")])
    for cell in generator:
        done.append(cell.arm)
    assert killer.wait(60) == 0
    assert done == ["dies", "fails", "AT"]
    errors = [outcome.error if (outcome := end_of(cell)) else None for cell in study.cells]
    assert errors[0] == "its process was ended by SIGKILL (by the system, if memory ran out); see log.txt"
    assert (errors[1] or "").startswith("ValueError: dataset='nowhere'")
    assert is_finished(lives)
    assert not is_finished(fails)


_KILLER = """
import os, pathlib, signal, sys, time
folder, log = sys.argv[1], pathlib.Path(sys.argv[2])
for _ in range(1200):
    if log.is_file() and "/400  " in log.read_text():
        for entry in pathlib.Path("/proc").glob("[0-9]*/fd/1"):
            try:
                if os.readlink(entry).startswith(folder):
                    os.kill(int(entry.parts[2]), signal.SIGKILL)
                    sys.exit(0)
            except OSError:
                pass
    time.sleep(0.05)
sys.exit(1)
"""


@pytest.mark.slow
def test_cells_can_be_launched_in_two_processes(tmp_path: Path) -> None:
    config = str(ROOT / "recipes" / "accelerate" / "two_cpu_processes.yaml")
    arms = {"AT": {}, "fails": {"dataset": "nowhere"}}
    path = write_study(
        tmp_path,
        settings={"use_cpu": True},
        arms=arms,
        seeds=[0],
        launch=["--config_file", config, "--main_process_port", "0"],
    )
    done = subprocess.run(command(path), capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    lives, fails = read_study(path).cells
    summary = json.loads((lives.folder / "evaluation" / "summary.json").read_text())
    assert summary["devices"] == 2
    assert "2 process(es)" in log_of(lives.folder)
    outcome = end_of(fails)
    assert outcome is not None
    assert (outcome.error or "").startswith("ValueError: dataset='nowhere'")


def test_a_folder_belongs_to_one_study_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = fake_study(tmp_path, {}, arms={"a": {}}, baseline=None)
    owner = start_owner(study.output_dir)
    assert main(["study", str(tmp_path / "study.yaml")]) == 1
    assert f"{study.output_dir} is in use by process {owner.pid}" in capsys.readouterr().err
    owner.kill()
    owner.wait()


def test_changed_cells_are_all_counted_and_some_named(tmp_path: Path) -> None:
    study = fake_study(tmp_path, {}, arms={"a": {}, "b": {}, "c": {}}, baseline=None)
    for cell in study.cells:
        begin(cell)
    refuse_other_cells(study.cells)
    settings = {"max_steps": 3}
    changed = read_study(write_study(tmp_path, arms={"a": {}, "b": {}, "c": {}}, baseline=None, settings=settings))
    with pytest.raises(ValueError, match="max_steps was 2 and is now 3") as refusal:
        refuse_other_cells(changed.cells)
    message = str(refusal.value)
    assert message.count("is now 3") == 3
    assert "and 3 more cells" in message
    assert "another --output_dir" in message
