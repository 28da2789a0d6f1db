"""Our AutoAttack against its authors' own run: the same model, images and radius; accuracy and wall time.

Trains a small vision transformer adversarially on CIFAR-10's lossless subset, then attacks its 1,000 test images at
Linf 8/255 three times: `pyautoattack`'s standard evaluation, ours in one process, and ours in two. Every process has
one thread: a network this small gains nothing from a second.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from adsr_hf.measures.statistics import wilson_interval
from benchmarks.measure import Report, Spread, Target, argument_parser, run

THREAT = "Linf 8/255"
BATCH_SIZE = 256
DATA = "../shared/data/cifar10-small"

RECIPE: dict[str, Any] = {
    "method": "pgd_at",
    "norm": "Linf",
    "epsilon": "8/255",
    "epsilon_ramp_epochs": 2,
    "attack_steps": 3,
    "eval_attack_steps": 5,
    "dataset": DATA,
    "validation_fraction": 0.1,
    "model_type": "vit",
    "image_size": 32,
    "model_config": {
        "patch_size": 8,
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "initializer_range": 0.1,
    },
    "num_train_epochs": 8,
    "per_device_train_batch_size": 64,
    "learning_rate": 0.002,
    "warmup_steps": 0.1,
    "eval_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    parser = argument_parser(__doc__, repeats=1)
    parser.add_argument("--data", default=DATA, help="CIFAR-10 as `adsr train --dataset` takes it")
    return run(benchmark, parser.parse_args(argv))


def benchmark(arguments: argparse.Namespace) -> Report:
    """Train once, attack three times, and set the outcomes side by side."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    """As :func:`benchmark`, in a folder for the checkpoint and the records."""
    import torch

    images = 32 if arguments.smoke else 1000
    settings = RECIPE | {"dataset": arguments.data, "seed": arguments.seed}
    settings |= {"max_steps": 2, "epsilon_ramp_epochs": 0} if arguments.smoke else {}
    checkpoint = folder / "model"
    _train({**settings, "output_dir": str(checkpoint)}, images)
    torch.set_num_threads(1)
    theirs, their_seconds, total = _theirs(checkpoint, arguments.data, images, arguments.seed)
    one = _ours(checkpoint, images, arguments.seed, folder / "one", processes=1)
    two = _ours(checkpoint, images, arguments.seed, folder / "two", processes=2)
    ours = one["figures"][f"{THREAT}/robust_accuracy"]["value"]
    same = one["figures"] == two["figures"]
    interval = wilson_interval(round(theirs * total), total)
    return Report(
        benchmark="autoattack",
        seed=arguments.seed,
        settings={"recipe": settings, "threat": THREAT, "images": total, "batch_size": BATCH_SIZE, "threads": 1},
        unit="s",
        raw={"theirs": [their_seconds], "ours": [one["wall"]], "ours, two processes": [two["wall"]]},
        ratios={
            "ours / theirs": Spread.of([one["wall"] / their_seconds]),
            "one process / two": Spread.of([one["wall"] / two["wall"]]),
        },
        figures={
            "accuracy": one["figures"]["accuracy"]["value"],
            "robust accuracy, theirs": theirs,
            "robust accuracy, ours": ours,
            "their 95% interval": {"low": interval[0], "high": interval[1]},
            "records of one and two processes are equal": float(same),
        },
        targets=[
            Target("ours differs from theirs by at most 0.5 point", abs(ours - theirs), 0.005),
            Target("ours is not above their interval", ours, interval[1]),
            Target("ours takes at most 1.05 of their time", one["wall"] / their_seconds, 1.05),
            Target("two processes are at least 1.7 times as fast", 1.7 / (one["wall"] / two["wall"]), 1.0),
        ],
        notes=[
            "theirs: wall time of run_standard_evaluation; ours: of the whole command's evaluation, clean pass, "
            "records and figures included, after loading",
            "one round: an AutoAttack takes minutes",
        ],
    )


def _train(settings: dict[str, Any], images: int) -> None:
    from adsr_hf.runs.recipe import recipe_from_settings
    from adsr_hf.runs.train import train_recipe

    recipe = recipe_from_settings(settings | {"max_eval_images": images})
    train_recipe(recipe.config, recipe.data, recipe.model)


def _theirs(checkpoint: Path, data: str, images: int, seed: int) -> tuple[float, float, int]:
    """Robust accuracy, seconds and number of images of the authors' own loop."""
    import torch
    from pyautoattack import AutoAttack

    from adsr_hf.attacks import PixelSpace, ThreatModel
    from adsr_hf.attacks.frozen import under_attack
    from adsr_hf.data import DataArguments, load_image_data
    from adsr_hf.networks.classifier import pixels_to_logits
    from adsr_hf.networks.pretrained import load_classifier, load_image_processor

    processor = load_image_processor(checkpoint)
    model = load_classifier(checkpoint)
    test = load_image_data(DataArguments(dataset=data, max_eval_images=images), processor, seed=seed).test
    assert test is not None
    pixels, labels = test.pixels(range(len(test))), test.labels
    logits_fn = pixels_to_logits(model, PixelSpace.from_processor(processor), model.config.num_labels)
    threat = ThreatModel.parse(THREAT)
    with under_attack(model):
        attack = AutoAttack(logits_fn, norm=threat.norm, eps=threat.epsilon, seed=seed, device="cpu")
        started = time.perf_counter()
        adversarial, _ = attack.run_standard_evaluation(pixels, labels, batch_size=BATCH_SIZE)
        seconds = time.perf_counter() - started
        with torch.no_grad():
            right = logits_fn(pixels).argmax(1) == labels
            standing = right & (logits_fn(adversarial).argmax(1) == labels)
    return standing.double().mean().item(), seconds, len(labels)


def _ours(checkpoint: Path, images: int, seed: int, folder: Path, *, processes: int) -> dict[str, Any]:
    """The summary's figures, and the wall time that the evaluation took, in fresh processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = [
        *["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes), "--num_machines", "1"],
        *["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port],
    ]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "adsr_hf", "evaluate", str(checkpoint)]
    command += ["--threat", THREAT, "--attacks", "autoattack", "--batch_size", str(BATCH_SIZE), "--seed", str(seed)]
    command += ["--output_dir", str(folder), "--max_eval_images", str(images)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {"figures": summary["figures"], "wall": summary["seconds"]}


if __name__ == "__main__":
    main()
