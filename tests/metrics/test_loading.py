"""Metrics are loaded in an interpreter of their own, with an empty cache and no way to any server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import adsr_hf.metrics

FOLDER = Path(adsr_hf.metrics.__file__).parent

OFFLINE = """
import socket

def refuse(*arguments, **options):
    raise AssertionError(f"a connection was tried: {arguments}")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""

LOAD = """
import json, sys
import evaluate

folder = sys.argv[1]
by_file = evaluate.load(f"{folder}/robust_accuracy/robust_accuracy.py")
by_folder = evaluate.load(f"{folder}/robust_accuracy", "clean_and_adversarial")
calibration = evaluate.load(f"{folder}/expected_calibration_error/expected_calibration_error.py")
flips = evaluate.load(f"{folder}/flip_rate/flip_rate.py")
others = {
    name: evaluate.load(f"{folder}/{name}")
    for name in ("brier_score", "classwise_calibration_error", "negative_log_likelihood", "output_stability")
}
by_folder.add_batch(predictions=[0, 1], references=[0, 1], clean_predictions=[1, 1])
print(json.dumps([
    by_file.compute(predictions=[0, 1], references=[0, 1]),
    by_folder.compute(),
    calibration.compute(probabilities=[[0.75, 0.25], [0.25, 0.75]], references=[0, 0], bins=4),
    flips.compute(predictions=[0, 1], clean_predictions=[1, 1]),
    others["brier_score"].compute(probabilities=[[0.5, 0.5]], references=[0]),
    others["classwise_calibration_error"].compute(probabilities=[[0.5, 0.5]], references=[0]),
    others["negative_log_likelihood"].compute(logits=[[0.0, 800.0]], references=[0]),
    others["output_stability"].compute(probabilities=[[0.5, 0.5]], clean_probabilities=[[0.5, 0.5]]),
    sorted({
        type(metric).__module__.split(".")[0]
        for metric in (by_file, by_folder, calibration, flips, *others.values())
    }),
]))
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def test_files_and_folders_load_offline(tmp_path: Path) -> None:
    output = run(
        OFFLINE + LOAD, str(FOLDER), HF_HOME=str(tmp_path), HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1", USE_TF="0"
    )
    assert json.loads(output.splitlines()[-1]) == [
        {"robust_accuracy": 1.0},
        {"robust_accuracy": 0.5},
        {"expected_calibration_error": 0.25},
        {"flip_rate": 0.5},
        {"brier_score": 0.5},
        {"classwise_calibration_error": 0.5},
        {"negative_log_likelihood": 800.0},
        {"output_stability": 1.0},
        ["evaluate_modules"],
    ]


def test_importing_the_package_loads_neither_evaluate_nor_torch() -> None:
    code = """
import sys, adsr_hf.metrics
print(sorted({"evaluate", "torch", "datasets", "numpy"} & set(sys.modules)), "FlipRate" in dir(adsr_hf.metrics))
try:
    adsr_hf.metrics.Accuracy
except AttributeError as error:
    print(error)
"""
    loaded, error = run(code).splitlines()
    assert loaded == "[] True"
    assert error.endswith(f"no attribute 'Accuracy'; it has {', '.join(adsr_hf.metrics.__all__)}")
    assert "FlipRate, NegativeLogLikelihood" in error
