"""Evaluation folders made up from random numbers, for tests of what reads them: compare, gate, report.

Every image has one strength, partly its own (equal for all models on the same ``data_seed``) and partly the model's:
accuracies come out exactly, larger radii break what smaller ones broke, and two models are correlated as real ones.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from adsr_hf.attacks import ThreatModel
from adsr_hf.evaluation.classes import confusion_of, majority_of
from adsr_hf.evaluation.model_files import model_files
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.summary import figures_of, reliability_of, temperature_entry
from adsr_hf.measures.intervals import Intervals

THREATS = {"Linf 4/255": 0.6, "Linf 8/255": 0.4}
ATTACKS = ("pgd", "square")
NOISE_KINDS = ("gaussian_noise", "motion_blur")
SEVERITIES = (1, 3, 5)

Table = dict[str, Any]


def write_fake_evaluation(
    folder: Path,
    *,
    images: int = 200,
    num_classes: int = 4,
    accuracy: float = 0.9,
    robust: Mapping[str, float] = THREATS,
    attacks: Sequence[str] = ATTACKS,
    noise_accuracy: float | None = 0.8,
    noise_kinds: Sequence[str] = NOISE_KINDS,
    severities: Sequence[int] = SEVERITIES,
    sharpness: float = 3.0,
    seed: int = 0,
    data_seed: int = 0,
    correlation: float = 0.7,
    class_names: Sequence[str] | None = None,
    class_shares: Sequence[float] | None = None,
    class_hardness: Sequence[float] | None = None,
    positive_class: str | None = None,
    num_steps: int = 20,
    temperature: float | None = 1.3,
    sanity: Mapping[str, str] | None = None,
    milliseconds_per_image: float = 2.0,
    weights: str = "student",
    published: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``records.parquet`` and ``summary.json`` into ``folder`` and return it.

    Args:
        accuracy: share of images that are right without attack; ``robust`` gives it for each threat.
        noise_accuracy: at the highest severity; None leaves stability out.
        sharpness: scale of the logits: above about 3 the model is overconfident.
        seed: of the model: another seed is another model on the same images.
        data_seed: of the images: labels and how hard each is.
        class_shares: how frequent the classes are; None = equally.
        class_hardness: added to how hard each class is for this model: one class gains what others lose, and the
            accuracies of all images stay.
        published: whether the weights are those of model.safetensors.
        changes: keys of the summary, dotted ("data.fingerprint"), and what to put there instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(class_names or [f"class {index}" for index in range(num_classes)])
    of_data, of_model = np.random.default_rng(data_seed), np.random.default_rng([seed, data_seed, 1])
    labels = of_data.integers(0, num_classes, images)
    if class_shares is not None:
        labels = np.random.default_rng(data_seed).choice(num_classes, images, p=class_shares)
    hardness = of_data.standard_normal(images)
    strength = correlation**0.5 * hardness + (1 - correlation) ** 0.5 * of_model.standard_normal(images)
    if class_hardness is not None:
        strength += np.array(class_hardness)[labels]
    rank = np.empty(images)
    rank[strength.argsort()] = (np.arange(images) + 0.5) / images
    columns: Table = {"index": np.arange(images), "label": labels}
    clean = _outcomes(rank < accuracy, labels, num_classes, sharpness, of_model)
    columns |= _named("clean", clean, ("prediction", "confidence", "logits"))
    for threat, share in robust.items():
        columns |= _under_threat(threat, share, attacks, rank, accuracy, labels, num_classes, sharpness, of_model)
    if noise_accuracy is not None:
        for kind in noise_kinds:
            for severity in severities:
                share = accuracy + (noise_accuracy - accuracy) * severity / max(severities)
                noisy = _outcomes(rank < share, labels, num_classes, sharpness, of_model)
                same = rank < share
                noisy["prediction"] = np.where(same, clean["prediction"], noisy["prediction"])
                noisy["total_variation"] = np.where(same, 0.05, 0.6) * of_model.uniform(0.5, 1.5, images)
                name = f"noise.{kind}.{severity}"
                columns |= _named(name, noisy, ("prediction", "confidence", "total_variation"))
    table = _table(columns)
    fingerprint = hashlib.sha256(f"data {data_seed} {images} {num_classes}".encode()).hexdigest()
    summary: dict[str, Any] = {
        "schema_version": 3,
        "kind": "evaluation",
        "model": {
            "source": str(folder.parent),
            "weights": weights,
            "published": published,
            "fingerprint": hashlib.sha256(f"model {seed} {accuracy} {robust} {sharpness}".encode()).hexdigest(),
            "num_classes": num_classes,
            "class_names": names,
            "parameters": 12345,
        },
        "data": {
            "source": "made up",
            "split": "test",
            "fingerprint": fingerprint,
            "images": images,
            "class_names": names,
            "image_shape": [3, 8, 8],
        },
        "threats": list(robust),
        "attacks": [
            {"name": name, "num_steps": num_steps, "restarts": 1} if name == "pgd" else {"name": name}
            for name in attacks
        ],
        "seed": 0,
        "versions": {"adsr_hf": "0", "torch": "0"},
        "machine": "a made-up machine",
        "seconds": 1.5,
        "devices": 1,
        "figures": {},
        "sanity": [
            {"name": name, "outcome": outcome, "figures": {}, "words": f"{name}: {outcome}"}
            for name, outcome in (sanity or {"deterministic": "pass", "pgd beats random noise": "pass"}).items()
        ],
        "reliability": {},
        "confusion": {},
        "majority": {},
        "positive_class": positive_class,
        "noise_severities": None if noise_accuracy is None else "CIFAR-10-C",
        "temperature": None,
        "latency": {"milliseconds_per_image": milliseconds_per_image, "batch_size": 32},
        "notes": [],
    }
    records = EvaluationRecords(summary, table)
    summary["figures"] = figures_of(records, 0)
    summary["reliability"] = reliability_of(records)
    summary["confusion"] = confusion_of(records)
    summary["majority"] = majority_of(records)
    if temperature is not None:
        summary["temperature"] = {"value": temperature, "fitted_on": "validation", "images": images}
        summary["figures"]["ece_after_temperature"] = temperature_entry(records, temperature, Intervals(images, 0))
    for dotted, value in (changes or {}).items():
        *path, last = dotted.split(".")
        place = summary
        for key in path:
            place = place[key]
        place[last] = value
    records.write(folder)
    return folder


def write_fake_run(
    run: Path,
    *,
    gap: float = 0.03,
    throughput: float = 500.0,
    method: str = "adsr",
    train_seed: int = 0,
    **evaluation: Any,
) -> Path:
    """A run folder: ``run.json``, a (fake) ``model.safetensors`` with its config, and ``evaluation/``; returns it."""
    write_fake_evaluation(run / "evaluation", **({"seed": train_seed} | evaluation))
    best, epochs = 0.45, 10
    curve = [best * min(1.0, (epoch + 1) / 5) - max(0.0, (epoch - 5) / 4) * gap for epoch in range(epochs)]
    history: list[dict[str, float]] = []
    for epoch, value in enumerate(curve):
        step = 10 * (epoch + 1)
        history.append(
            {"step": step, "epoch": epoch + 1, "loss": 2.0 - 0.1 * epoch, "temperature": 2 - 0.1 * epoch}
            | {"interpolation": 0.5 + 0.03 * epoch, "learning_rate": 0.001, "images_per_second": throughput}
        )
        history.append(
            {"step": step, "epoch": epoch + 1, "eval_accuracy": value + 0.4, "eval_robust_accuracy": value}
            | {"eval_ece": 0.05, "eval_loss": 1.0}
        )
    best_step = 10 * (1 + int(np.argmax(curve)))
    record = {
        "schema_version": 1,
        "config": {"method": method, "norm": "Linf", "epsilon": "8/255", "seed": train_seed, "num_train_epochs": 10},
        "data": {"dataset": "made up"},
        "model": {"model_type": "vit"},
        "data_summary": "made up: 4 classes",
        "images": {"train": 800, "validation": 100, "test": 200},
        # As of a run that was continued: the rate that Trainer reports is too high.
        "training": {"train_samples_per_second": 3 * throughput, "train_runtime": 8000 / throughput},
        "robust_overfitting": {
            "student": {"best": max(curve), "best_step": best_step, "last": curve[-1], "last_step": 10 * epochs}
            | {"gap": max(curve) - curve[-1]}
        },
        "test": {},
        "log_history": history,
        "versions": {"adsr_hf": "0"},
    }
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (run / "config.json").write_text("{}", encoding="utf-8")
    (run / "model.safetensors").write_bytes(f"weights of {run.name}, seed {train_seed}".encode())
    record_model_files(run)
    return run


def record_model_files(run: Path) -> None:
    """Let the records of a made-up run say that the model that lies in its folder now is the one that was measured."""
    path = run / "evaluation" / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["model"]["files"] = model_files(run)
    path.write_text(json.dumps(summary, indent=2), encoding="utf-8")


def _outcomes(
    right: np.ndarray, labels: np.ndarray, classes: int, sharpness: float, random: np.random.Generator
) -> Table:
    """Logits whose argmax is the label where ``right`` is set and another class elsewhere."""
    prediction = np.where(right, labels, (labels + random.integers(1, classes, len(labels))) % classes)
    logits = random.uniform(-0.5, 0.5, (len(labels), classes))
    gap = 1.1 + random.exponential(np.where(right, sharpness, sharpness / 2))
    logits[np.arange(len(labels)), prediction] += gap
    logits = logits.astype(np.float32)
    return {"prediction": prediction, "confidence": _softmax(logits).max(1), "logits": logits}


def _under_threat(
    threat: str,
    share: float,
    attacks: Sequence[str],
    rank: np.ndarray,
    accuracy: float,
    labels: np.ndarray,
    classes: int,
    sharpness: float,
    random: np.random.Generator,
) -> Table:
    """Columns of one threat: each attack breaks all that ``share`` leaves standing no more, but a few for the next."""
    epsilon = ThreatModel.parse(threat).epsilon
    shares = [share + (accuracy - share) * 0.2 * (len(attacks) - 1 - place) for place in range(len(attacks))]
    standing = rank < accuracy
    broken_by = np.where(standing, None, "clean").astype(object)
    columns: Table = {}
    worst = _outcomes(rank < share, labels, classes, sharpness, random)
    for attack, left in zip(attacks, shares, strict=True):
        attacked = standing.copy()
        found = _outcomes(rank < left, labels, classes, sharpness, random)
        found["distance"] = np.full(len(labels), epsilon) * random.uniform(0.9, 1.0, len(labels))
        for figure in ("prediction", "confidence", "distance"):
            kinds = int if figure == "prediction" else float
            columns[f"{threat}.{attack}.{figure}"] = [
                kinds(value) if asked else None for value, asked in zip(found[figure], attacked, strict=True)
            ]
        fell = standing & (rank >= left)
        broken_by[fell] = attack
        standing &= ~fell
    worst["distance"] = np.full(len(labels), epsilon)
    columns |= _named(f"{threat}.worst", worst, ("prediction", "confidence", "distance", "logits"))
    columns[f"{threat}.broken_by"] = broken_by.tolist()
    return columns


def _named(name: str, values: Table, figures: Sequence[str]) -> Table:
    return {f"{name}.{figure}": values[figure] for figure in figures}


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _table(columns: Table) -> pyarrow.Table:
    arrays = {}
    for name, values in columns.items():
        if name.endswith(".logits"):
            arrays[name] = pyarrow.array(list(values), type=pyarrow.list_(pyarrow.float32()))
        elif name.endswith(".broken_by"):
            arrays[name] = pyarrow.array(values, type=pyarrow.string())
        else:
            whole = name in ("index", "label") or name.endswith(".prediction")
            arrays[name] = pyarrow.array(values, type=pyarrow.int64() if whole else pyarrow.float64())
    return pyarrow.table(arrays)
