"""Training by IKL: weights that follow the run's own predictions, epoch by epoch, and through a restart."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adsr_hf.networks.weights import CheckpointError
from tests import reference
from tests.recording import RecordingTrainer
from tests.snapshots import Crash, CrashAfter, assert_identical
from tests.tiny import CLASSES, TinyImages, tiny_trainer, tiny_vit
from tests.tiny_runs import Case

# 4 steps an epoch: step 5 is the second one of the second epoch.
STEP, EPOCH = 5, range(4)


def record(output_dir: Path, **config: Any) -> RecordingTrainer:
    settings = {"max_grad_norm": 0.0, "learning_rate": 1e-2, "attack_steps": 3, "max_steps": STEP + 1, "method": "ikl"}
    model = tiny_vit().double()
    trainer = tiny_trainer(output_dir, model=model, trainer_class=RecordingTrainer, **(settings | config))
    trainer.train()
    return trainer


def class_means(trainer: RecordingTrainer, micro_batches: range, temperature: float) -> Tensor:
    """Row y: the mean tempered prediction of clean images of class y, image by image."""
    predictions: list[list[Tensor]] = [[] for _ in range(CLASSES)]
    for index in micro_batches:
        done = trainer.micro_batches[index]
        clean = done.logits.double().chunk(2)[0]
        for logits, label in zip(clean, done.inputs["labels"].tolist(), strict=True):
            predictions[label].append(reference.log_softmax(logits[None] / temperature)[0].exp())
    return torch.stack([torch.stack(of_class).mean(0) for of_class in predictions])


@pytest.mark.parametrize("labels", ["onehot", "adsr"])
def test_a_step_of_the_second_epoch_equals_float64(tmp_path: Path, labels: str) -> None:
    """Weights are the true class's predictions in the first epoch; rectified targets teach clean images alone."""
    trainer = record(tmp_path, labels=labels, ikl_alpha=12.0, ikl_beta=3.0, ikl_temperature=2.0)
    weights = class_means(trainer, EPOCH, 2.0)
    assert (weights - 1 / CLASSES).abs().max() > 1e-3
    done = trainer.micro_batches[STEP]
    targets = torch.eye(CLASSES).double()[done.inputs["labels"]]
    student = done.student.double().train()
    if labels == "adsr":
        assert done.teacher is not None
        with torch.no_grad():
            logits = done.teacher.double()(pixel_values=done.inputs["pixel_values"].double()).logits
        temperature, interpolation = (
            reference.half_cosine(start, end, STEP, STEP + 1) for start, end in ((2.0, 1.0), (0.7, 0.95))
        )
        targets = reference.rectified(logits, done.inputs["labels"], temperature, interpolation)
    loss = reference.ikl_loss(student, done.seen.double(), done.inputs["labels"], targets, weights, 12.0, 3.0)
    assert done.loss == pytest.approx(loss.item(), rel=1e-6)
    named = dict(student.named_parameters())
    expected = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        found = trainer.gradients[STEP][name]
        assert found is not None
        assert (found - gradient).abs().max() <= 1e-6 * max(gradient.abs().max(), 1e-6 * largest), name


def test_accumulated_micro_batches_share_the_weights_of_their_step(tmp_path: Path) -> None:
    trainer = record(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert len(trainer.micro_batches) == 2 * (STEP + 1)
    means = trainer.run.method_step.class_means.means
    assert means is not None
    torch.testing.assert_close(means.means, class_means(trainer, range(8), 4.0), rtol=1e-9, atol=0)


def test_perturbed_weights_count_a_batch_once(tmp_path: Path) -> None:
    trainer = record(tmp_path, weight_perturbation="awp", weight_perturbation_radius=0.02)
    means = trainer.run.method_step.class_means.means
    assert means is not None
    torch.testing.assert_close(means.means, class_means(trainer, EPOCH, 4.0), rtol=1e-9, atol=0)
    # Two steps of 8 images have followed the first epoch.
    assert means.state_dict()["class_means.sums"][:, -1].sum() == 16


def test_mixed_precision_counts_exactly(tmp_path: Path) -> None:
    """bfloat16 has no 257: sums of predictions are kept in float64, whatever the model computes in."""
    many = TinyImages(300)
    trainer = tiny_trainer(
        tmp_path, method="ikl", bf16=True, train_dataset=many, per_device_train_batch_size=300, max_steps=1
    )
    trainer.train()
    state = trainer.run.method_step.class_means.state_dict()
    assert state["class_means.sums"].dtype == torch.float64
    assert torch.equal(state["class_means.sums"][:, -1], torch.bincount(many.labels).double())
    torch.testing.assert_close(state["class_means.sums"][:, :-1].sum(1), state["class_means.sums"][:, -1])


def test_a_continued_run_has_the_means_of_the_uninterrupted_one(tmp_path: Path) -> None:
    """Cut off within the second epoch: its sums come from the checkpoint, its weights from the first."""
    case = Case(method="ikl")
    whole = case.trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Crash):
        case.trainer(tmp_path / "cut", callbacks=[CrashAfter(7)]).train()
    continued = case.trainer(tmp_path / "cut", seed=99)
    continued.train(resume_from_checkpoint=True)
    states = [trainer.run.method_step.class_means.state_dict() for trainer in (continued, whole)]
    assert states[1]["class_means.epoch"] == 2
    assert_identical(*states)


def test_a_continued_run_keeps_its_weights(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        Case(method="ikl").trainer(tmp_path, callbacks=[CrashAfter(7)]).train()
    other = Case(method="ikl", ikl_temperature=1.0).trainer(tmp_path)
    with pytest.raises(CheckpointError, match=r"ikl_temperature was 4\.0 and is now 1\.0"):
        other.train(resume_from_checkpoint=True)


def test_a_second_run_starts_from_even_weights(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, model_init=lambda: tiny_vit(), method="ikl", max_steps=5)
    trainer.train()
    first = trainer.run.method_step.class_means.state_dict()
    trainer.train()
    assert_identical(trainer.run.method_step.class_means.state_dict(), first)


def test_another_objective_keeps_no_means(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, method="trades", max_steps=1)
    trainer.train()
    assert trainer.run.method_step.class_means.state_dict() == {}


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self) -> Any:
        images = TinyImages(32)
        return (images[index % 32] for index in range(64))


def test_a_stream_without_epochs_is_refused(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, method="ikl", train_dataset=Stream())
    with pytest.raises(ValueError, match=r"end of each epoch, and train_dataset has no length .* objective='trades'"):
        trainer.train()
