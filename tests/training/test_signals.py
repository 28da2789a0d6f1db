"""Signals that stop, and kill -9, on another process."""

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

from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.training.checkpoints import verify_checkpoint
from tests.snapshots import as_json, assert_identical, digest_of, snapshot, without_timings
from tests.tiny import tiny_trainer, tiny_vit

ROOT = Path(__file__).parents[2]

CONFIG: dict[str, Any] = {
    "eval_strategy": "no",
    "learning_rate": 3e-3,
}


def _start(task: dict[str, Any], **options: Any) -> subprocess.Popen[str]:
    return _run(["-m", "tests.training_worker", json.dumps([task])], **options)


def _run(words: list[str], **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, **(streams | options))


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the worker ended with {process.returncode}: {process.communicate()[0]}")
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the worker did not get there in {seconds} s: {process.communicate()[0]}")
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("signum", "workers"),
    [
        pytest.param(signal.SIGINT, 0, id="Ctrl-C", marks=pytest.mark.slow),
        # As a scheduler, a container or accelerate's launcher does: the processes that load images get it, too.
        pytest.param(signal.SIGTERM, 2, id="SIGTERM to all"),
        pytest.param(signal.SIGINT, 2, id="Ctrl-C to all", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 2, id="SIGHUP to all", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 2, id="SIGUSR1 to all", marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_another_process(tmp_path: Path, signum: int, workers: int) -> None:
    # Long enough that the signal cannot come too late.
    config = CONFIG | {"max_steps": 100, "save_strategy": "no", "logging_steps": 20}
    task = {"output_dir": str(tmp_path / "run"), "result": str(tmp_path / "result"), "config": config}
    process = _start(task | {"config": config | {"dataloader_num_workers": workers}}, start_new_session=True)
    progress = tmp_path / "result" / "step"
    _wait_for(lambda: progress.is_file() and progress.read_text() not in ("", "1", "2"), process)
    os.killpg(process.pid, signum)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    (checkpoint,) = checkpoint_folders(tmp_path / "run")
    verify_checkpoint(checkpoint)
    assert int(checkpoint.name.removeprefix("checkpoint-")) == int(progress.read_text()) < 100
    assert output.lower().count("stopping after this step") == 1
    assert f"saved {checkpoint}. Continue with resume_from_checkpoint={checkpoint}" in output
    assert not (tmp_path / "result" / "rank_0.json").exists()

    continued = tiny_trainer(tmp_path / "run", model=tiny_vit(seed=99), **config)
    continued.train(resume_from_checkpoint=True)
    whole = tiny_trainer(tmp_path / "whole", **config)
    whole.train()
    assert_identical(snapshot(continued), snapshot(whole))


# ---- commands -------------------------------------------------------------------------------------------------------

_LISTENING = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from adsr_hf.cli.main import main; sys.exit(main(sys.argv[1:]))"
)
_RECIPE = """
method: adsr
attack_steps: 2
eval_attack_steps: 2
dataset: digits
model_type: vit
image_size: 8
model_config: {patch_size: 4, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
per_device_train_batch_size: 16
report_to: none
disable_tqdm: true
logging_steps: 1
save_strategy: "no"
use_cpu: true
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(_RECIPE)
    return str(path)


@pytest.mark.slow
def test_adsr_train_saves_when_it_is_told_to_stop(tmp_path: Path, recipe: str) -> None:
    run = tmp_path / "run"
    words = ["-c", _LISTENING, "train", recipe, "--output_dir", str(run), "--max_steps", "20000"]
    # Its output goes to a terminal, which closes.
    terminal, its_end = os.openpty()
    log = tmp_path / "log"
    process = _run(words, stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True)
    os.close(its_end)
    _copy_until(terminal, log, " 3/20000 ")
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    (checkpoint,) = checkpoint_folders(run)
    verify_checkpoint(checkpoint)

    again = _run([*words, "--resume_from_checkpoint", "true"])
    _copy_until(again.stdout.fileno(), log, "/20000 ")
    again.send_signal(signal.SIGTERM)
    output = again.communicate(timeout=60)[0]
    assert again.returncode == 128 + signal.SIGTERM
    newest = checkpoint_folders(run)[-1]
    assert newest != checkpoint
    assert f"adsr: stopped on request; saved {newest}. Continue with resume_from_checkpoint={newest}" in output


def _copy_until(descriptor: int, log: Path, text: str) -> None:
    with open(log, "w+b", buffering=0) as file:
        while text not in log.read_text():
            content = os.read(descriptor, 10_000)
            assert content, log.read_text()
            file.write(content)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGUSR1])
def test_adsr_evaluate_keeps_what_is_finished(tmp_path: Path, recipe: str, signum: int) -> None:
    run = tmp_path / "run"
    trained = _run(["-c", _LISTENING, "train", recipe, "--output_dir", str(run), "--max_steps", "2"])
    assert trained.wait(120) == 0, trained.communicate()[0]
    words = ["-c", _LISTENING, "evaluate", str(run), "--attack_steps", "20000", "--batch_size", "16"]
    process = _run(words)
    _wait_for(lambda: bool(list(run.glob("evaluation/.journal/*/*.npz"))), process, seconds=180)
    process.send_signal(signum)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signum
    assert output.endswith("adsr: stopped; what is finished is kept, and the same command continues\n")
    assert list(run.glob("evaluation/.journal/*/*.npz"))


# ---- kills ----------------------------------------------------------------------------------------------------------


def test_a_handful_of_kills_while_checkpoints_are_written(tmp_path: Path) -> None:
    """No folder that is accepted and incomplete, one way on after each, and in the end the undisturbed run."""
    process = _run(["-m", "tests.kill_worker", str(tmp_path), "6", "0"], stderr=subprocess.PIPE)
    printed, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    found = json.loads(printed.splitlines()[-1])
    assert found["run"] == found["whole"]
    assert found["kills"] == 6
    assert found["cut"] > 0


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
