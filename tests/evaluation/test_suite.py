"""The evaluation suite on a small model: records that depend on nothing but the model, the images and the seed."""

import dataclasses
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adsr_hf.attacks import ThreatModel
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.suite import evaluate
from adsr_hf.evaluation.vectors import figure_vector
from adsr_hf.measures.statistics import wilson_interval
from adsr_hf.networks.classifier import pixels_to_logits
from adsr_hf.records.sentences import worded
from tests.evaluation.subjects import PLAN, SPACE, THREATS, images, trained_model
from tests.records.test_folder_lock import start_owner
from tests.tiny import tiny_vit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return trained_model()


def measure(model: torch.nn.Module, folder: Path | None = None, **changes: object) -> EvaluationRecords:
    plan = dataclasses.replace(PLAN, **changes)
    return evaluate(model, images(), plan, pixel_space=SPACE, folder=folder, show_progress=False)


@pytest.fixture(scope="module")
def records(model: torch.nn.Module) -> EvaluationRecords:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield measure(model)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize(
    "batch_size", [pytest.param(1, marks=pytest.mark.slow), 37, pytest.param(500, marks=pytest.mark.slow)]
)
def test_records_do_not_depend_on_the_batch_size(
    model: torch.nn.Module, records: EvaluationRecords, batch_size: int
) -> None:
    assert measure(model, batch_size=batch_size).table.equals(records.table)


def test_another_seed_is_another_attack(model: torch.nn.Module, records: EvaluationRecords) -> None:
    assert not measure(model, seed=1).table.equals(records.table)


def test_distances_stay_inside_each_threat(records: EvaluationRecords) -> None:
    for threat in THREATS:
        for attack in records.attacks:
            distance = records.column(f"{threat}.{attack}.distance")
            assert (distance[~np.isnan(distance)] <= threat.epsilon + 1e-6).all()


def test_fallen_images_are_not_attacked_again(records: EvaluationRecords) -> None:
    for threat in THREATS:
        broken_by = records.table.column(f"{threat}.broken_by").to_pylist()
        gone = np.array([name == "clean" for name in broken_by])
        assert gone.any()
        for attack in records.attacks:
            prediction = records.column(f"{threat}.{attack}.prediction").astype(float)
            assert (np.isnan(prediction) == gone).all()
            fell = ~gone & (prediction != records.labels)
            assert (fell == np.array([name == attack for name in broken_by])).all()
            gone |= fell
    assert {"pgd", "clean"} <= set(broken_by)


def test_figures_follow_from_the_rows(records: EvaluationRecords) -> None:
    clean = records.column("clean.prediction")
    for threat in THREATS:
        worst = records.column(f"{threat}.worst.prediction")
        standing = int(((clean == records.labels) & (worst == records.labels)).sum())
        assert standing == sum(name is None for name in records.table.column(f"{threat}.broken_by").to_pylist())
        entry = records.summary["figures"][f"{threat}/robust_accuracy"]
        assert entry == {"value": standing / 70, "interval": list(wilson_interval(standing, 70)), "images": 70}
    last = records.attacks[-1]
    assert records.figure(f"{THREATS[0]}/{last}/robust_accuracy") == records.figure(f"{THREATS[0]}/robust_accuracy")
    assert records.figure("Linf 0.2/robust_accuracy") < records.figure("Linf 0.02/robust_accuracy")
    for name, entry in records.summary["figures"].items():
        low, high = entry["interval"]
        assert low <= entry["value"] <= high, name
        vector = figure_vector(records, name)
        if vector is not None:
            assert vector.mean() == pytest.approx(entry["value"], abs=1e-12), name


def test_a_second_look_changes_nothing(model: torch.nn.Module, records: EvaluationRecords, tmp_path: Path) -> None:
    measure(model, tmp_path)
    written = read_evaluation(tmp_path)
    assert written.table.equals(records.table)
    assert written.summary["figures"] == records.summary["figures"]
    assert not (tmp_path / ".journal").exists()


def test_examples_still_fool_the_model_when_read_back(model: torch.nn.Module, tmp_path: Path) -> None:
    evaluate(model, images(), Plan((ThreatModel("Linf", "16/255" and 16 / 255),), num_steps=5), pixel_space=SPACE,
             folder=tmp_path, show_progress=False)  # fmt: skip
    summary = read_evaluation(tmp_path).summary
    logits_fn = pixels_to_logits(model, SPACE, 4)
    for entry in summary["examples"]:
        clean, adversarial = (
            torch.from_numpy(np.asarray(Image.open(tmp_path / entry[kind]), dtype=np.float32) / 255).permute(2, 0, 1)
            for kind in ("clean", "adversarial")
        )
        assert (clean - adversarial).abs().max() <= 16 / 255 + 1e-6
        predictions = logits_fn(torch.stack([clean, adversarial])).argmax(1).tolist()
        assert predictions == [entry["clean_prediction"], entry["adversarial_prediction"]]
        assert predictions[0] == entry["label"] != predictions[1]
    assert summary["examples"] or any("no example is kept" in worded(note) for note in summary["notes"])


def _child(weights: Path, folder: Path, *launcher: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, *launcher, "-m", "tests.evaluation.subjects", str(weights), str(folder)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, start_new_session=True
    )


def _kill_and_resume(weights: Path, folder: Path, kills: int, seed: int) -> None:
    moments = random.Random(seed)
    for _ in range(kills):
        child = _child(weights, folder)
        started = time.monotonic()
        while not list(folder.glob(".journal/*/*.npz")) and child.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 1.2) if time.monotonic() - started else 0)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    child = _child(weights, folder)
    _, error = child.communicate(timeout=120)
    assert child.returncode == 0, error.decode()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 10])
def test_records_after_kills_equal_those_of_one_run(
    records: EvaluationRecords, weights: Path, tmp_path: Path, kills: int
) -> None:
    _kill_and_resume(weights, tmp_path / "evaluation", kills, seed=kills)
    assert read_evaluation(tmp_path / "evaluation").table.equals(records.table)


def test_finished_images_are_not_attacked_again(
    model: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after the first threat, the second run makes no pass for it."""
    from adsr_hf.evaluation.driver import Driver

    whole = Driver._under
    attacked: list[str] = []

    def cut(self: Driver, threat: ThreatModel, standing: list[int]) -> None:
        if threat == THREATS[1]:
            raise KeyboardInterrupt
        whole(self, threat, standing)

    monkeypatch.setattr(Driver, "_under", cut)
    with pytest.raises(KeyboardInterrupt):
        measure(model, tmp_path)
    monkeypatch.undo()
    once = Driver._attacked
    monkeypatch.setattr(
        Driver,
        "_attacked",
        lambda self, unit, threat, *rest: (attacked.append(str(threat)), once(self, unit, threat, *rest))[1],
    )
    measure(model, tmp_path)
    assert set(attacked) == {str(THREATS[1]), str(THREATS[2])}


def _two_processes(weights: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # As in tests/distributed: `--cpu` would start one process, without a word.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port]
    command = [sys.executable, *launcher, "-m", "tests.evaluation.subjects", str(weights), str(folder)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_two_processes_are_refused_together_where_another_writes(weights: Path, tmp_path: Path) -> None:
    owner = start_owner(tmp_path)
    refused = _two_processes(weights, tmp_path)
    owner.kill()
    owner.wait()
    assert refused.returncode != 0
    assert refused.stderr.count(f"FolderInUseError: {tmp_path} is in use by process {owner.pid}") == 2
    assert not (tmp_path / ".journal").exists()


def test_two_processes_write_the_same_records(records: EvaluationRecords, weights: Path, tmp_path: Path) -> None:
    done = _two_processes(weights, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    two = read_evaluation(tmp_path)
    assert two.summary["devices"] == 2
    assert two.table.equals(records.table)


def test_the_model_is_left_as_it_was(model: torch.nn.Module) -> None:
    model.train()
    model.vit.embeddings.requires_grad_(False)
    measure(model, threats=THREATS[:1], attacks=("pgd",), stability=False)
    assert model.training
    assert not any(parameter.requires_grad for parameter in model.vit.embeddings.parameters())
    assert model.classifier.weight.requires_grad
    model.requires_grad_(True).eval()


def test_what_cannot_be_measured_is_refused(model: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match="dataset is empty"):
        evaluate(model, [], Plan(()), pixel_space=SPACE)
    with pytest.raises(ValueError, match="labels run from"):
        evaluate(model, [{"pixel_values": torch.zeros(3, 16, 16), "labels": 4}], Plan(()), pixel_space=SPACE)
    broken = tiny_vit()
    with torch.no_grad():
        broken.classifier.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinity"):
        measure(broken)
    soft = tiny_vit()
    soft.classifier = torch.nn.Sequential(soft.classifier, torch.nn.Softmax(dim=1))
    with pytest.raises(ValueError, match="probabilities, not logits"):
        measure(soft)


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="has radius 0"):
        Plan((ThreatModel("Linf", 0.0),))
    with pytest.raises(ValueError, match="given twice"):
        Plan((ThreatModel("Linf", 0.1), ThreatModel("Linf", 0.1)))
    for name in ("num_steps", "restarts", "square_queries", "batch_size"):
        with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
            Plan(THREATS, **{name: 0})
    with pytest.raises(ValueError, match="needs a threat model"):
        Plan((), sanity=True)


@pytest.mark.parametrize("num_classes", [2, pytest.param(7, marks=pytest.mark.slow), 200])
def test_any_number_of_classes(num_classes: int) -> None:
    torch.manual_seed(0)
    network = tiny_vit(num_labels=num_classes).eval()
    items = [{"pixel_values": item["pixel_values"], "labels": 0} for item in images(8)]
    logits = network(pixel_values=torch.stack([torch.as_tensor(item["pixel_values"]) for item in items])).logits
    labelled = [item | {"labels": int(label)} for item, label in zip(items, logits.argmax(1), strict=True)]
    plan = Plan((ThreatModel("Linf", 0.05),), attacks=("autoattack",), square_queries=20)
    records = evaluate(network, labelled, plan, pixel_space=SPACE, show_progress=False)
    assert records.figure("accuracy") == 1
    targets = {attack["name"]: attack.get("targets") for attack in records.summary["attacks"]}
    assert targets["apgd-t"] == targets["fab-t"] == min(9, num_classes - 1)
    assert any("needs 4 classes" in worded(note) for note in records.summary["notes"]) == (num_classes < 4)
    assert len(records.summary["model"]["class_names"]) == num_classes


def test_a_full_disk_keeps_what_is_finished(
    model: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"npz cannot be written: No space left .*\. Make room"):
        measure(model, tmp_path)
    assert not list(tmp_path.glob(".journal/*/*"))
