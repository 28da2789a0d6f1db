"""The teacher of a run: which one it is, when it follows, and what it is asked for."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adsr_hf.method.reliability import batch_reliability
from adsr_hf.method.schedules import cosine_anneal, warmed_up_decay
from adsr_hf.method.targets import rectify_labels
from adsr_hf.training.batch import Batch
from adsr_hf.training.compilation import CompiledNetworks
from adsr_hf.training.position import RunPosition
from adsr_hf.training.teacher_keeper import TeacherKeeper
from tests.tiny import CLASSES, MEAN, STD, TinyImages, tiny_config, tiny_vit


def keeper(folder: Path, **config: Any) -> TeacherKeeper:
    args = tiny_config(folder, **config)
    return TeacherKeeper(args, num_classes=CLASSES, accelerator=Accelerator(cpu=True), compiled=CompiledNetworks(args))


def space() -> Any:
    from adsr_hf.attacks import PixelSpace

    return PixelSpace(MEAN, STD)


def moved(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by


def first_weight(model: nn.Module) -> Tensor:
    return next(model.parameters()).detach().clone()


@pytest.mark.parametrize("warmup", [False, True])
def test_it_follows_with_the_decay_of_the_step(tmp_path: Path, warmup: bool) -> None:
    student = tiny_vit()
    teacher = keeper(tmp_path, teacher_decay=0.9, teacher_decay_warmup=warmup)
    teacher.begin(student, space())
    before = first_weight(student)
    moved(student, 1.0)
    teacher.follow(student, step=3, schedule_steps=100)
    assert teacher.average is not None
    decay = warmed_up_decay(0.9, step=3) if warmup else 0.9
    torch.testing.assert_close(first_weight(teacher.average.model), before + (1 - decay))


def test_its_memory_can_be_a_share_of_the_run(tmp_path: Path) -> None:
    student = tiny_vit()
    teacher = keeper(tmp_path, teacher_memory=0.1, teacher_decay=0.995)
    teacher.begin(student, space())
    before = first_weight(student)
    moved(student, 1.0)
    teacher.follow(student, step=3, schedule_steps=50)
    assert teacher.average is not None
    torch.testing.assert_close(first_weight(teacher.average.model), before + 1 / 5)
    assert "teacher_memory" in teacher.schedules_by_length()


def test_labels_that_follow_the_teacher_trust_it_as_far_as_it_is_right(tmp_path: Path) -> None:
    settings = {"temperature_start": 3.0, "temperature_end": 3.0, "interpolation_start": 0.8, "interpolation_end": 0.8}
    teacher, student = keeper(tmp_path, labels_follow="teacher", teacher_decay=0.5, **settings), tiny_vit()
    teacher.begin(student, space())
    rows = TinyImages(6).batch()
    batch, position = Batch(rows["pixel_values"], rows["labels"], {}), RunPosition(0, 4, 8)
    assert teacher.average is not None
    with torch.no_grad():
        logits = teacher.average.model(pixel_values=rows["pixel_values"]).logits
    accuracy, log_temperature = batch_reliability(logits, rows["labels"]).tolist()
    temperature, interpolation = min(3.0, math.exp(log_temperature)), 0.8 * accuracy
    found, figures = teacher.targets(batch, position)
    expected = rectify_labels(logits, rows["labels"], temperature=temperature, interpolation=interpolation)
    torch.testing.assert_close(found, expected)
    assert (figures["temperature"], figures["interpolation"]) == pytest.approx((temperature, interpolation))
    teacher.begin(student, space())
    assert teacher.reliability.accuracy == 0


def test_a_method_without_one_keeps_none(tmp_path: Path) -> None:
    teacher = keeper(tmp_path, method="pgd_at", evaluate_weights="student")
    teacher.begin(tiny_vit(), space())
    before = teacher.average
    teacher.follow(tiny_vit(), step=0, schedule_steps=100)
    assert (before is None) == (teacher.average is None)
    assert teacher.schedules_by_length() == []


def test_a_second_run_begins_with_another_teacher(tmp_path: Path) -> None:
    teacher, student = keeper(tmp_path), tiny_vit()
    teacher.begin(student, space())
    first = teacher.average
    moved(student, 1.0)
    teacher.begin(student, space())
    assert teacher.average is not first
    assert teacher.average is not None
    torch.testing.assert_close(first_weight(teacher.average.model), first_weight(student))


def test_targets_are_the_teachers_answers_rectified_at_this_step(tmp_path: Path) -> None:
    ends = {"temperature_start": 2.0, "temperature_end": 1.0, "interpolation_start": 0.3, "interpolation_end": 0.9}
    teacher, student = keeper(tmp_path, **ends), tiny_vit()
    teacher.begin(student, space())
    moved(student, 0.5)
    rows = TinyImages(6).batch()
    position = RunPosition(step=3, steps_per_epoch=4, schedule_steps=8)
    found, figures = teacher.targets(Batch(rows["pixel_values"], rows["labels"], {}), position)
    assert teacher.average is not None
    with torch.no_grad():
        logits = teacher.average.model(pixel_values=rows["pixel_values"]).logits
    temperature = cosine_anneal(2.0, 1.0, step=3, total_steps=8)
    interpolation = cosine_anneal(0.3, 0.9, step=3, total_steps=8)
    expected = rectify_labels(logits, rows["labels"], temperature=temperature, interpolation=interpolation)
    torch.testing.assert_close(found, expected)
    assert (figures["temperature"], figures["interpolation"]) == (temperature, interpolation)
    assert teacher.schedules_by_length() == ["temperature", "interpolation"]
