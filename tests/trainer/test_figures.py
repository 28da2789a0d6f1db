"""The logged figures, recomputed in numpy over the images that a log line stands for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

from tests import reference
from tests.recording import RecordingTrainer
from tests.tiny import CLASSES, SIZE, TinyImages, tiny_trainer, tiny_vit

# 20 images in batches of 8, 8 and 4: a mean over batches is not a mean over images.
ONE_LINE = {"max_steps": 3, "logging_steps": 3, "learning_rate": 0.0}


def only_line(trainer: Any) -> dict[str, float]:
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert len(lines) == 1
    return lines[0]


class HalfBlind(nn.Module):
    """Does not look at images whose first value is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.config = tiny_vit().config
        self.head = nn.Linear(3 * SIZE * SIZE, CLASSES)

    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutput:
        sees = (pixel_values.detach()[:, 0, 0, 0] > 0)[:, None]
        logits = self.head(pixel_values.flatten(1))
        return ImageClassifierOutput(logits=torch.where(sees, logits, logits.detach() * 0 + self.head.bias))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RecordingTrainer:
    settings = ONE_LINE | {"temperature_start": 1.5, "temperature_end": 1.5}
    settings |= {"interpolation_start": 0.8, "interpolation_end": 0.8, "seed": 5}
    trainer = tiny_trainer(
        tmp_path_factory.mktemp("run"), train_dataset=TinyImages(20), trainer_class=RecordingTrainer, **settings
    )
    trainer.train()
    return trainer


class TestWeightedByImages:
    """The learning rate is 0: the teacher is the first student, and a log line is about one fixed model."""

    def test_batches_differ_in_size(self, trained: RecordingTrainer) -> None:
        assert [len(done.logits) for done in trained.micro_batches] == [8, 8, 4]

    def test_figures_of_the_labels(self, trained: RecordingTrainer) -> None:
        images, line = trained.train_dataset, only_line(trained)
        with torch.no_grad():
            logits = tiny_vit().eval()(pixel_values=images.pixel_values).logits.double()
        targets = reference.rectified(logits, images.labels, 1.5, 0.8).numpy()
        probabilities = torch.softmax(logits / 1.5, 1).numpy()
        true = probabilities[np.arange(20), images.labels]
        weights = np.clip(0.8 - (probabilities.max(1) - true), 0, 1)
        agreement = (probabilities.argmax(1) == images.labels.numpy()).mean()
        assert line["mean_lambda"] == pytest.approx(weights.mean(), rel=1e-5)
        assert line["teacher_agreement"] == pytest.approx(agreement, rel=1e-6)
        assert line["label_entropy"] == pytest.approx(-(targets * np.log(targets)).sum(1).mean(), rel=1e-5)
        assert (line["temperature"], line["interpolation"]) == pytest.approx((1.5, 0.8), rel=1e-6)

    def test_attack_success(self, trained: RecordingTrainer) -> None:
        wrong = [done.logits.argmax(1) != done.inputs["labels"] for done in trained.micro_batches]
        assert only_line(trained)["attack_success"] == pytest.approx(torch.cat(wrong).double().mean().item(), rel=1e-6)
        assert np.mean([batch.double().mean().item() for batch in wrong]) != pytest.approx(
            torch.cat(wrong).double().mean().item(), rel=1e-3
        )

    def test_perturbation_fills_the_ball_and_no_more(self, trained: RecordingTrainer) -> None:
        assert 0.9 * 8 / 255 < only_line(trained)["perturbation_norm"] <= 8 / 255 + 1e-6

    def test_throughput_is_logged(self, trained: RecordingTrainer) -> None:
        assert only_line(trained)["images_per_second"] > 0

    def test_zero_gradient_share_is_the_share_of_blind_images(self, tmp_path: Path) -> None:
        model, images = HalfBlind(), TinyImages(20)
        blind = torch.arange(20) < 5
        images.pixel_values[:, 0, 0, 0] = torch.where(blind, -0.5, 0.5)
        settings = ONE_LINE | {"method": "pgd_at", "attack_random_start": False, "attack_steps": 1}
        trainer = tiny_trainer(tmp_path, model=model, train_dataset=images, **settings)
        trainer.train()
        assert only_line(trainer)["zero_gradient_share"] == pytest.approx(5 / 20, abs=1e-5)


@pytest.mark.parametrize(
    ("method", "present", "absent"),
    [
        ("clean", {"images_per_second"}, {"attack_success", "zero_gradient_share", "temperature", "mean_lambda"}),
        ("pgd_at", {"attack_success", "zero_gradient_share"}, {"temperature", "mean_lambda", "teacher_agreement"}),
        ("adsr", {"temperature", "interpolation", "mean_lambda", "teacher_agreement", "label_entropy"}, set()),
    ],
)
def test_each_method_logs_its_own(tmp_path: Path, method: str, present: set[str], absent: set[str]) -> None:
    trainer = tiny_trainer(tmp_path, method=method, max_steps=1)
    trainer.train()
    line = set(only_line(trainer))
    assert present <= line
    assert not absent & line


def test_each_line_is_about_its_own_steps(tmp_path: Path) -> None:
    trainer = tiny_trainer(
        tmp_path, trainer_class=RecordingTrainer, max_steps=4, logging_steps=2, learning_rate=0.05, method="pgd_at"
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    wrong = torch.stack([done.logits.argmax(1) != done.inputs["labels"] for done in trainer.micro_batches])
    expected = wrong.double().reshape(2, -1).mean(1).tolist()
    assert [line["attack_success"] for line in lines] == pytest.approx(expected, rel=1e-6)
    assert [line["loss"] for line in lines] == pytest.approx(
        [np.mean([done.loss for done in trainer.micro_batches[i : i + 2]]) for i in (0, 2)], rel=1e-5
    )
