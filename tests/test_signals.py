"""Ctrl-C and kill -9 on a process that trains."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adsr_hf.checkpoints import checkpoint_folders, verify_checkpoint
from tests.snapshots import as_json, assert_identical, digest_of, snapshot, without_timings
from tests.tiny import tiny_trainer, tiny_vit

ROOT = Path(__file__).parents[1]

CONFIG: dict[str, Any] = {
    "eval_strategy": "no",
    "learning_rate": 3e-3,
}


def _start(task: dict[str, Any]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training_worker", json.dumps([task])],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the worker ended with {process.returncode}: {process.communicate()[0]}")
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the worker did not get there in {seconds} s: {process.communicate()[0]}")
        time.sleep(0.005)


def test_ctrl_c_on_another_process(tmp_path: Path) -> None:
    # Long enough that the signal cannot come too late.
    config = CONFIG | {"max_steps": 100, "save_strategy": "no", "logging_steps": 20}
    task = {"output_dir": str(tmp_path / "run"), "result": str(tmp_path / "result"), "config": config}
    process = _start(task)
    progress = tmp_path / "result" / "step"
    _wait_for(lambda: progress.is_file() and progress.read_text() not in ("", "1", "2"), process)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    (checkpoint,) = checkpoint_folders(tmp_path / "run")
    verify_checkpoint(checkpoint)
    assert int(checkpoint.name.removeprefix("checkpoint-")) == int(progress.read_text()) < 100
    assert "Stopping after this step" in output
    assert f"saved {checkpoint}. Continue with resume_from_checkpoint={checkpoint}" in output
    assert not (tmp_path / "result" / "rank_0.json").exists()

    continued = tiny_trainer(tmp_path / "run", model=tiny_vit(seed=99), **config)
    continued.train(resume_from_checkpoint=True)
    whole = tiny_trainer(tmp_path / "whole", **config)
    whole.train()
    assert_identical(snapshot(continued), snapshot(whole))


@pytest.mark.slow
def test_kill_9_while_saving_leaves_whole_checkpoints(tmp_path: Path) -> None:
    """Killed at random moments of a run that does little but save, with a single checkpoint kept."""
    randomness = random.Random(0)
    run, result = tmp_path / "run", tmp_path / "result"
    config = CONFIG | {
        "max_steps": 200,
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 1,
        "logging_steps": 50,
        "attack_steps": 1,
    }
    task: dict[str, Any] = {"output_dir": str(run), "result": str(result), "config": config}
    cut_saves = kills = 0
    while cut_saves < 2 and kills < 10:
        _kill_after_some_steps(task | {"resume": kills > 0}, randomness.uniform(0.1, 0.2))
        kills += 1
        finished = _finished(run)
        cut_saves += len(finished) < len(checkpoint_folders(run))
        assert finished
        for folder in finished:
            verify_checkpoint(folder)
    assert cut_saves > 0
    process = _start(task | {"resume": True})
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    whole = tiny_trainer(tmp_path / "whole", **(config | {"save_strategy": "no"}))
    whole.train()
    found = json.loads((result / "rank_0.json").read_text())
    assert as_json(found["log"]) == as_json(without_timings(whole.state.log_history))
    assert found["student"] == digest_of(dict(whole.model.state_dict()))


def _kill_after_some_steps(task: dict[str, Any], seconds: float) -> None:
    progress = Path(task["result"]) / "step"
    before = progress.read_text() if progress.exists() else ""
    process = _start(task)
    run = Path(task["output_dir"])
    _wait_for(lambda: progress.exists() and progress.read_text() != before and bool(_finished(run)), process)
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=30)


def _finished(run: Path) -> list[Path]:
    return [folder for folder in checkpoint_folders(run) if (folder / "manifest.json").is_file()]
