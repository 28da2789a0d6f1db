"""An ordinary image-classification script, as transformers' own guide writes it; then two class names are changed."""

from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    DefaultDataCollator,
    Trainer,
    TrainingArguments,
    pipeline,
)

from adsr_hf import ADSRConfig, ADSRTrainer
from tests.tiny import CLASSES, SIZE, TinyImages, tiny_processor, tiny_vit

NAMES = ["beech", "birch", "oak", "pine"]


class Accuracy(evaluate.Metric):
    """What ``evaluate.load("accuracy")`` fetches from the Hub."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features=datasets.Features(features)
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.array(predictions) == np.array(references)))}


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Larger than the model's input, so that the processor resizes."""
    pixels = (TinyImages(48).pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(image).resize((24, 20), Image.Resampling.NEAREST) for image in pixels]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A pretrained model with a head for other classes, and its processor."""
    folder = tmp_path / "pretrained"
    tiny_vit(num_labels=10).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def script(
    trainer_class: type[Trainer],
    arguments_class: type[TrainingArguments],
    *,
    pictures: list[Image.Image],
    checkpoint: Path,
    output_dir: Path,
    transform_in_place: bool,
) -> tuple[Trainer, dict[str, float], Any]:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"image": pictures, "label": [index % CLASSES for index in range(len(pictures))]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data = data.train_test_split(test_size=0.25, seed=0, stratify_by_column="label")

    processor = AutoImageProcessor.from_pretrained(checkpoint)

    def transform(examples: dict[str, list[Any]]) -> dict[str, Any]:
        images = [image.convert("RGB") for image in examples["image"]]
        examples["pixel_values"] = processor(images, return_tensors="pt")["pixel_values"]
        del examples["image"]
        return examples

    if transform_in_place:
        data["train"].set_transform(transform)
        data["test"].set_transform(transform)
    else:
        data = data.with_transform(transform)

    accuracy = Accuracy(cache_dir=str(output_dir / "metrics"), keep_in_memory=True)

    def compute_metrics(eval_pred: Any) -> dict[str, float]:
        predictions, labels = eval_pred
        return accuracy.compute(predictions=np.argmax(predictions, axis=1), references=labels)

    model = AutoModelForImageClassification.from_pretrained(
        checkpoint,
        num_labels=len(NAMES),
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
        ignore_mismatched_sizes=True,
    )
    training_args = arguments_class(
        output_dir=str(output_dir),
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        learning_rate=1e-2,
        per_device_train_batch_size=6,
        gradient_accumulation_steps=2,
        per_device_eval_batch_size=8,
        num_train_epochs=2,
        warmup_steps=2,
        logging_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = trainer_class(
        model=model,
        args=training_args,
        data_collator=DefaultDataCollator(),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        processing_class=processor,
        compute_metrics=compute_metrics,
    )
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model(str(output_dir / "final"))
    return trainer, metrics, trainer.predict(data["test"])


@pytest.mark.parametrize(
    "transform_in_place", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["with_transform", "set_transform"]
)
def test_only_two_class_names_change(
    tmp_path: Path, pictures: list[Image.Image], checkpoint: Path, transform_in_place: bool
) -> None:
    given = {"pictures": pictures, "checkpoint": checkpoint, "transform_in_place": transform_in_place}
    ordinary, ordinary_metrics, ordinary_output = script(
        Trainer, TrainingArguments, output_dir=tmp_path / "ordinary", **given
    )
    robust, robust_metrics, robust_output = script(ADSRTrainer, ADSRConfig, output_dir=tmp_path / "robust", **given)

    assert robust.state.global_step == ordinary.state.global_step == 6
    assert set(robust_metrics) >= set(ordinary_metrics)
    assert {"eval_robust_accuracy", "eval_ece", "eval_teacher_robust_ece"} <= set(robust_metrics)
    assert robust_output.predictions.shape == ordinary_output.predictions.shape == (12, CLASSES)
    assert set(robust_output.metrics) == set(ordinary_output.metrics)
    assert robust_output.metrics["test_accuracy"] == robust_metrics["eval_accuracy"]
    for before, after in zip(ordinary.state.log_history, robust.state.log_history, strict=True):
        assert set(before) <= set(after)
    best = max(line["eval_accuracy"] for line in robust.state.log_history if "eval_accuracy" in line)
    assert robust.state.best_metric == robust_metrics["eval_accuracy"] == best

    classify = pipeline("image-classification", model=str(tmp_path / "robust" / "final"), device="cpu")
    restored = AutoModelForImageClassification.from_pretrained(tmp_path / "robust" / "final")
    assert restored.config.id2label == dict(enumerate(NAMES))
    inputs = torch.stack([robust.eval_dataset[index]["pixel_values"] for index in range(12)])
    with torch.no_grad():
        np.testing.assert_allclose(restored(pixel_values=inputs).logits.numpy(), robust_output.predictions, atol=1e-6)
    assert classify(pictures[0].resize((SIZE, SIZE)))[0]["label"] in NAMES
