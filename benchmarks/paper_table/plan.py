"""The plan: how many epochs each network gets, fixed from this machine's speed before anything is trained."""

import io
import json
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from adsr_hf.attacks import PixelSpace
from adsr_hf.data import DataArguments
from adsr_hf.data.labelled import load_splits
from adsr_hf.records.files import write_json
from adsr_hf.runs.estimate import guessed_speed
from adsr_hf.runs.model import load_model, load_processor
from adsr_hf.runs.recipe import recipe_from_settings
from benchmarks.paper_table.settings import Sizes, run_settings

PLAN_FILE = "plan.json"
# The rest is for attacks on the finished networks, loading, and a machine that is slower than it seemed.
_TRAINING_SHARE = 0.55
_MOST_EPOCHS = 100
_IMAGES = 45_000
_CLASSES = [str(index) for index in range(10)]


def make_plan(
    folder: Path,
    *,
    networks: list[str],
    runs: list[str],
    total_minutes: float,
    data: str,
    test_data: str,
    sizes: Sizes,
) -> dict[str, Any]:
    """The plan in ``folder``, which is made there at the first command and read by all that follow.

    Args:
        total_minutes: for everything, all commands together; above 0.
        data, test_data: data sets whose train split is trained on, and whose test split is measured.

    Raises:
        ValueError: when the plan that is there was made for something else, or a split does not exist.
    """
    asked: dict[str, Any] = {
        "schema_version": 1,
        "networks": networks,
        "runs": runs,
        "total_minutes": total_minutes,
        "data": data,
        "test_data": test_data,
        "smoke": sizes.smoke,
    }
    path = folder / PLAN_FILE
    if path.is_file():
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        differing = [
            f"{name} was {plan.get(name)!r} and is now {value!r}"
            for name, value in asked.items()
            if plan.get(name) != value
        ]
        if differing:
            raise ValueError(
                f"{path} is the plan of another table: {'; '.join(differing)}. Ask for the same again, or choose "
                "another --output-dir"
            )
        return plan
    per_network = 60 * total_minutes * _TRAINING_SHARE / len(networks)
    plan = asked | {
        "trained_on": described(data, "train"),
        "tested_on": described(test_data, "test"),
        "device": _device(),
        "seconds_per_epoch": {},
        "epochs": {},
    }
    for network in networks:
        seconds = {
            run: 0.0 if sizes.smoke else seconds_per_epoch(network, run, data=data, sizes=sizes) for run in runs
        }
        plan["seconds_per_epoch"][network] = seconds
        plan["epochs"][network] = 2 if sizes.smoke else epochs_within(per_network, sum(seconds.values()))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, plan)
    return plan


def described(data: str, split: Literal["train", "test"]) -> dict[str, str]:
    """Which images a figure is about: ``words`` for people, and the ``coding`` of the first one, such as ``"JPEG"``.

    Raises:
        ValueError: when the data set cannot be opened or has no such split.
    """
    splits = load_splits(DataArguments(dataset=data))
    images = splits.train if split == "train" else splits.test
    if images is None:
        raise ValueError(f"{data} has no {split} split; name a data set that has one")
    stored = images[0][splits.image_column]
    with Image.open(io.BytesIO(stored["bytes"]) if stored["bytes"] is not None else stored["path"]) as image:
        coding = str(image.format)
    return {"words": f"the {split} images of {data} ({coding})", "coding": coding}


def epochs_within(seconds: float, one_epoch: float) -> int:
    """Epochs that fit, where one takes ``one_epoch`` seconds for all runs together: from 1 to 100."""
    return max(1, min(_MOST_EPOCHS, int(seconds / one_epoch)))


def seconds_per_epoch(network: str, run: str, *, data: str, sizes: Sizes) -> float:
    """Of training and the evaluation after it, from one batch of noise on this machine."""
    recipe = recipe_from_settings(
        run_settings(network, run, epochs=1, data=data, sizes=sizes) | {"output_dir": "unused"}
    )
    config = recipe.config
    side = recipe.model.image_size
    assert side is not None
    speed = guessed_speed(
        load_model(recipe.model, _CLASSES).model,
        config,
        PixelSpace.from_processor(load_processor(recipe.model)),
        torch.rand(config.per_device_train_batch_size, 3, side, side),
    )
    return _IMAGES * speed.trained + (recipe.data.max_eval_images or 0) * speed.evaluated


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
