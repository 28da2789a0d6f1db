"""The teacher of a run: which one it is, when it follows, and what it is asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

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
    teacher.follow(student, step=3)
    assert teacher.average is not None
    decay = warmed_up_decay(0.9, step=3) if warmup else 0.9
    torch.testing.assert_close(first_weight(teacher.average.model), before + (1 - decay))


def test_a_method_without_one_keeps_none(tmp_path: Path) -> None:
    teacher = keeper(tmp_path, method="pgd_at", evaluate_weights="student")
    teacher.begin(tiny_vit(), space())
    before = teacher.average
    teacher.follow(tiny_vit(), step=0)
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
