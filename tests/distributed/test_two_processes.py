"""Two real processes, started by accelerate's launcher, against one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.training.checkpoints import number_of_processes, verify_checkpoint
from tests import training_worker
from tests.snapshots import as_json
from tests.tiny import CLASSES

ROOT = Path(__file__).parents[2]

# 32 images: one process takes 8 a step, and each of two takes 4 of the same 8.
CONFIG: dict[str, Any] = {
    "max_steps": 9,
    "logging_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 5,
    "save_strategy": "steps",
    "save_steps": 5,
    "learning_rate": 3e-3,
    "per_device_eval_batch_size": 5,
}
ONE, TWO = {"per_device_train_batch_size": 8}, {"per_device_train_batch_size": 4}
NO_NOISE = {"attack_random_start": False}
# Clean and attacked images in one batch, and weights moved along the gradient of all processes.
# Plain descent: Adam divides by gradients that are zero but for rounding.
PERTURBED = NO_NOISE | {"objective": "mart", "weight_perturbation": "awp", "weight_perturbation_radius": 0.02}
PERTURBED |= {"optim": "sgd", "learning_rate": 0.1}
# A radius that moves nothing: each process starts its attacks elsewhere.
IKL = {"objective": "ikl", "epsilon": 1e-5, "optim": "sgd", "learning_rate": 0.1}


def _launch(tasks: list[dict[str, Any]]) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # `accelerate launch --cpu --num_processes 2` would start one process, without a word.
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    settings = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *settings, "--module", "tests.training_worker", json.dumps(tasks)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _finish(process: subprocess.Popen[str], seconds: float) -> str:
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def _ranks(result: Path) -> list[dict[str, Any]]:
    return [json.loads((result / f"rank_{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one launch of two processes, which train several times, beside those of one process."""
    folder = tmp_path_factory.mktemp("runs")

    def task(name: str, output_dir: str = "", **others: Any) -> dict[str, Any]:
        config = CONFIG | TWO | others.pop("config", {})
        return {"output_dir": str(folder / (output_dir or name)), "result": str(folder / f"{name}_result")} | {
            "config": config,
            **others,
        }

    # With batch statistics, since each process sees other images: without care they would drift apart.
    common = {"family": "resnet", "augmented": True}
    tasks = [
        task("two", augmented=True, config=NO_NOISE),
        task("two_perturbed", augmented=True, config=PERTURBED),
        task("two_ikl", augmented=True, config=IKL),
        task("whole", **common),
        task("cut", crash_after=7, **common),
        task("continued", "cut", resume=True, model_seed=99, **common),
    ]
    process = _launch(tasks)
    # Meanwhile, here:
    training_worker.main(
        [
            task("one", augmented=True, config=ONE | NO_NOISE),
            task("one_perturbed", augmented=True, config=ONE | PERTURBED),
            task("one_ikl", augmented=True, config=ONE | IKL),
        ]
    )
    output = _finish(process, seconds=120)
    assert process.returncode == 0, output
    return folder


@pytest.mark.parametrize("kind", ["", "_perturbed"])
def test_two_processes_train_the_model_that_one_trains(runs: Path, kind: str) -> None:
    one = json.loads((runs / f"one{kind}_result" / "rank_0.json").read_text())
    ranks = _ranks(runs / f"two{kind}_result")
    assert one["world_size"] == 1
    assert [rank["world_size"] for rank in ranks] == [2, 2]
    for network in ("student", "teacher"):
        expected = load_file(runs / f"one{kind}_result" / f"{network}_0.safetensors")
        found = load_file(runs / f"two{kind}_result" / f"{network}_0.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert (found[name] - tensor).abs().max() < 1e-5, name


def test_class_means_are_those_of_all_images_in_both_processes(runs: Path) -> None:
    one, *both = (
        load_file(runs / name / "checkpoint-5" / f"process_{rank}.safetensors")
        for name, rank in (("one_ikl", 0), ("two_ikl", 0), ("two_ikl", 1))
    )
    assert (one["class_means"] - 1 / CLASSES).abs().max() > 1e-3
    for name in ("class_means", "class_means.sums", "class_means.epoch"):
        assert torch.equal(both[0][name], both[1][name])
        assert (both[0][name] - one[name]).abs().max() < 1e-5


def test_logged_figures_are_means_over_both_processes(runs: Path) -> None:
    one = json.loads((runs / "one_result" / "rank_0.json").read_text())["log"]
    two = _ranks(runs / "two_result")[0]["log"]
    training = [line for line in one if "loss" in line]
    assert len(training) == 4
    assert {"mean_lambda", "teacher_agreement", "attack_success", "perturbation_norm"} <= training[0].keys()
    assert [sorted(line) for line in two] == [sorted(line) for line in one]
    for expected, found in zip(one, two, strict=True):
        if "loss" in expected:
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_two_processes_evaluate_as_one_does(runs: Path) -> None:
    one = json.loads((runs / "one_result" / "rank_0.json").read_text())
    for rank in _ranks(runs / "two_result"):
        expected, found = one["initial_figures"], rank["initial_figures"]
        assert found.keys() == expected.keys()
        assert found["eval_accuracy"] == expected["eval_accuracy"]
        for name, value in expected.items():
            # Each process draws its own random starts, and Trainer's mean loss counts what fills up the last batch.
            rough = {"eval_loss": 2e-3}.get(name, 0.05 if "robust" in name else 1e-6)
            assert found[name] == pytest.approx(value, abs=rough), name
        # After training they have a teacher, too.
        assert rank["figures"].keys() == one["figures"].keys()
        for name in ("eval_mean_confidence", "eval_teacher_loss", "eval_ece", "eval_teacher_ece"):
            assert rank["figures"][name] == pytest.approx(one["figures"][name], abs=1e-4), name


@pytest.mark.parametrize("run", ["two", "whole"])
def test_both_processes_hold_the_same_weights(runs: Path, run: str) -> None:
    first, second = _ranks(runs / f"{run}_result")
    assert first["student"] == second["student"]
    assert first["teacher"] == second["teacher"]
    assert first["student"] != first["teacher"]
    assert as_json(first["figures"]) == as_json(second["figures"])


def test_each_process_draws_its_own_random_starts(runs: Path) -> None:
    first, second = _ranks(runs / "whole_result")
    assert first["attack_generator"] != second["attack_generator"]


def test_a_run_of_two_processes_continues_bit_by_bit(runs: Path) -> None:
    for whole, continued in zip(_ranks(runs / "whole_result"), _ranks(runs / "continued_result"), strict=True):
        for name in ("student", "teacher", "attack_generator", "log", "figures"):
            assert as_json(continued[name]) == as_json(whole[name]), name
    for folder in checkpoint_folders(runs / "cut"):
        verify_checkpoint(folder)
        assert number_of_processes(folder) == 2


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_two_processes_are_told_to_stop(tmp_path: Path, signum: int) -> None:
    """A terminal or a scheduler sends the signal to the launcher, which passes it on to both workers."""
    config = CONFIG | TWO | {"max_steps": 300, "eval_strategy": "no", "save_strategy": "no", "logging_steps": 20}
    run, result = tmp_path / "run", tmp_path / "result"
    task = {"output_dir": str(run), "result": str(result), "config": config}
    process = _launch([task])
    deadline = time.monotonic() + 90
    while not (result / "step").is_file() or (result / "step").read_text() in ("", "1", "2"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signum)
    output = _finish(process, seconds=90)
    assert process.returncode != 0
    (checkpoint,) = checkpoint_folders(run)
    verify_checkpoint(checkpoint)
    assert number_of_processes(checkpoint) == 2
    assert f"Continue with resume_from_checkpoint={checkpoint}" in output

    continued = _launch(
        [
            task | {"resume": True},
            task | {"output_dir": str(tmp_path / "whole"), "result": str(tmp_path / "whole_result")},
        ]
    )
    output = _finish(continued, seconds=180)
    assert continued.returncode == 0, output
    for found, expected in zip(_ranks(result), _ranks(tmp_path / "whole_result"), strict=True):
        assert as_json(found) == as_json(expected)
