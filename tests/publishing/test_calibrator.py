"""The head's calibration, without a trainer: what it refuses, and which network it scales."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adsr_hf.measures.figures import MeasuredLogits
from adsr_hf.publishing.calibrator import HeadCalibrator, calibration_facts, forget_calibration
from adsr_hf.training.batch import Batch
from tests.tiny import TinyImages, tiny_config, tiny_vit

IMAGES = TinyImages(64)


def calibrator(folder: Path, **config: Any) -> HeadCalibrator:
    return HeadCalibrator(tiny_config(folder, **({"calibrate": "clean"} | config)))


def measured(network: nn.Module) -> MeasuredLogits:
    """An overconfident answer for images of which a fifth is called wrongly."""
    with torch.no_grad():
        logits = network.eval()(pixel_values=IMAGES.pixel_values).logits
    labels = torch.where(torch.arange(len(logits)) % 5 == 0, (logits.argmax(1) + 1) % 4, logits.argmax(1))
    return MeasuredLogits(logits, None, labels)


def sharp_vit(seed: int) -> Any:
    model = tiny_vit(seed=seed, initializer_range=0.5)
    with torch.no_grad():
        model.classifier.weight *= 20
    return model


@pytest.mark.parametrize("publish", ["student", "teacher"])
def test_the_published_network_alone_is_scaled(tmp_path: Path, publish: str) -> None:
    student, teacher = sharp_vit(1), sharp_vit(2)
    published = {"student": student, "teacher": teacher}[publish]
    before = {
        name: network.classifier.weight.clone() for name, network in (("student", student), ("teacher", teacher))
    }
    unscaled = measured(published)
    probe = Batch(IMAGES.pixel_values[:4], IMAGES.labels[:4], {})
    record, after = calibrator(tmp_path, publish=publish).calibrate(
        student, teacher, {"validation": IMAGES}, again=False, probe=probe, measure=lambda _: measured(published)
    )
    assert record["weights"] == publish
    assert record["temperature"] > 1
    torch.testing.assert_close(published.classifier.weight, before[publish] / record["temperature"])
    other = {"student": teacher, "teacher": student}[publish]
    assert torch.equal(other.classifier.weight, before[{"student": "teacher", "teacher": "student"}[publish]])
    assert after["validation"].figures()["loss"] < unscaled.figures()["loss"]
    assert record["before"]["validation"] == unscaled.calibration_errors()
    assert after["validation"].clean.shape == (64, 4)
    facts = calibration_facts(student)
    assert facts is not None
    assert facts.temperature == record["temperature"]
    forget_calibration(student)
    assert calibration_facts(student) is None


@pytest.mark.parametrize(
    ("config", "images", "message"),
    [
        ({"calibrate": "none"}, IMAGES, "calibrate='none' fits no temperature"),
        ({}, None, "needs one set of held-out images, and there are none"),
        ({}, {"day": IMAGES, "night": IMAGES}, "eval_dataset holds several sets: day, night"),
        ({}, "train", "the ones given are the train_dataset"),
    ],
)
def test_what_is_not_held_out_is_refused(tmp_path: Path, config: dict[str, Any], images: Any, message: str) -> None:
    train: Any = TinyImages(4)
    given = train if images == "train" else images
    with pytest.raises(ValueError, match=message):
        calibrator(tmp_path, **config).splits(given, None, train_dataset=train)


def test_test_images_are_measured_and_not_fitted_on(tmp_path: Path) -> None:
    splits = calibrator(tmp_path).splits(IMAGES, "others", train_dataset=None)
    assert splits == {"validation": IMAGES, "test": "others"}
