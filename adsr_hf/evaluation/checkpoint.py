"""Evaluate a saved checkpoint on a data set that is described, not loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModelForImageClassification, PreTrainedModel

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.data import DataArguments, ImageClassificationDataset, load_image_data
from adsr_hf.evaluation.arguments import EvaluateArguments
from adsr_hf.evaluation.suite import Evaluation, evaluate

RUN_RECORD = "run.json"


def recorded_data(checkpoint: str) -> dict[str, Any]:
    """The data arguments of the run that wrote a checkpoint, or nothing."""
    record = _run_record(checkpoint)
    return {} if record is None else {name: value for name, value in record["data"].items() if value is not None}


def recorded_threat(checkpoint: str) -> list[str]:
    """The threat model that a checkpoint was trained against.

    Raises:
        ValueError: when no run.json says so.
    """
    record = _run_record(checkpoint)
    if record is None:
        raise ValueError(
            f"threat is not given and {checkpoint} has no {RUN_RECORD} to take it from; name one, such as "
            "--threat 'Linf 8/255'"
        )
    return [f"{record['config']['norm']} {record['config']['epsilon']}"]


def evaluate_checkpoint(
    checkpoint: str, data: DataArguments, arguments: EvaluateArguments, *, announce: Callable[[str], None]
) -> Evaluation:
    """Load model, processor and images, and measure them.

    Args:
        checkpoint: a folder or a Hub name.
        announce: gets one line that says what will be measured.

    Raises:
        ValueError: when the checkpoint cannot be loaded, or its labels are not the data set's.
    """
    threats = [ThreatModel.parse(text) for text in arguments.threat]
    model, processor = _load(checkpoint)
    images = load_image_data(data, processor, seed=arguments.seed)
    split = images.test if arguments.split == "test" else images.validation
    if split is None:
        raise ValueError(f"split={arguments.split!r} does not exist in {data.dataset}; choose the other, or name one")
    split = _with_model_labels(split, model, images.class_names)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    names = ", ".join(str(threat) for threat in threats)
    announce(
        f"{checkpoint} on {len(split)} {arguments.split} images ({images.summary}): clean, and PGD-"
        f"{arguments.attack_steps} x {arguments.attack_restarts} against {names}, on {device.type}"
    )
    return evaluate(
        model.to(device),
        split,
        threats=threats,
        pixel_space=PixelSpace.from_processor(processor),
        num_steps=arguments.attack_steps,
        restarts=arguments.attack_restarts,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
    )


def _run_record(checkpoint: str) -> dict[str, Any] | None:
    for folder in (Path(checkpoint), Path(checkpoint).parent):
        if (folder / RUN_RECORD).is_file():
            return json.loads((folder / RUN_RECORD).read_text(encoding="utf-8"))
    return None


def _load(checkpoint: str) -> tuple[PreTrainedModel, Any]:
    try:
        model, report = AutoModelForImageClassification.from_pretrained(checkpoint, output_loading_info=True)
        processor = AutoImageProcessor.from_pretrained(checkpoint)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"checkpoint {checkpoint} cannot be loaded as an image classifier: {error}") from error
    if report["missing_keys"]:
        raise ValueError(
            f"checkpoint {checkpoint} lacks weights ({sorted(report['missing_keys'])[:3]}), so part of the network "
            "would be random; it is cut short, or no image classifier"
        )
    return model, processor


def _with_model_labels(
    split: ImageClassificationDataset, model: PreTrainedModel, class_names: list[str]
) -> ImageClassificationDataset:
    """The split with labels in the model's order; names decide, and unnamed classes keep their index."""
    own = [model.config.id2label[index] for index in range(model.config.num_labels)]
    unnamed = own == [f"LABEL_{index}" for index in range(len(own))]
    if own == class_names or (unnamed and len(own) == len(class_names)):
        return split
    if sorted(own) != sorted(class_names):
        raise ValueError(
            f"the model's classes {own} are not the data set's {class_names}; measure it on images of its own "
            "classes, or rename one of them"
        )
    return split.with_label_order(own)
