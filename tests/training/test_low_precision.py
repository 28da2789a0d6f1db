"""The bfloat16 copy for the attack: as the student is now, rounded; and its own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.attacks import PGD, PixelSpace, ThreatModel
from adsr_hf.networks.classifier import pixels_to_logits
from adsr_hf.training.low_precision import BFloat16Copy
from tests.tiny import CLASSES, FAMILIES, MEAN, STD, TinyImages, tiny_model, tiny_trainer, tiny_vit


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def disturb(model: nn.Module) -> None:
    with torch.no_grad():
        for value in tensors(model).values():
            if value.is_floating_point():
                value.mul_(1.25).add_(0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_refreshed_copy_equals_the_cast_student(family: str) -> None:
    student = tiny_model(family)
    copied = BFloat16Copy(student)
    disturb(student)
    copied.refresh(student)
    mine = tensors(copied.model)
    assert mine.keys() == tensors(student).keys()
    for name, value in tensors(student).items():
        expected = value.bfloat16() if value.is_floating_point() else value
        assert torch.equal(mine[name], expected)


def test_the_copy_is_independent_of_the_student() -> None:
    student = tiny_model("resnet").train()
    copied = BFloat16Copy(student)
    theirs = {value.untyped_storage().data_ptr() for value in tensors(student).values()}
    before = {name: value.clone() for name, value in tensors(copied.model).items()}
    disturb(student)
    assert not theirs & {value.untyped_storage().data_ptr() for value in tensors(copied.model).values()}
    assert all(torch.equal(value, before[name]) for name, value in tensors(copied.model).items())
    assert all(parameter.dtype == torch.float32 for parameter in student.parameters())
    assert all(module.training for module in student.modules())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not any(module.training for module in copied.model.modules())


def test_attention_of_the_student_is_left_as_it_was() -> None:
    student = tiny_vit()
    before = student.config._attn_implementation
    copied = BFloat16Copy(student)
    assert student.config._attn_implementation == before != "eager"
    assert copied.model.config._attn_implementation == "eager"


def test_logits_are_the_students_up_to_rounding() -> None:
    student, images = tiny_vit().eval(), TinyImages(8)
    space = PixelSpace(MEAN, STD)
    copied = BFloat16Copy(student)
    rounded = pixels_to_logits(copied.model, space, CLASSES)(images.pixels)
    assert rounded.dtype == torch.bfloat16
    expected = pixels_to_logits(student, space, CLASSES)(images.pixels)
    torch.testing.assert_close(rounded.float(), expected, atol=0.03, rtol=0.03)


def test_a_student_wrapped_for_mixed_precision_is_copied_bare(tmp_path: Path) -> None:
    student = tiny_vit()
    tiny_trainer(tmp_path, model=student, bf16=True).accelerator.prepare_model(student)
    assert "forward" in student.__dict__
    copied = BFloat16Copy(student)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert copied.model(pixel_values=TinyImages(2).pixel_values.bfloat16()).logits.abs().sum() > 0


def test_attacking_the_copy_is_nearly_as_strong_as_attacking_the_student() -> None:
    student, images = tiny_vit().eval(), TinyImages(16)
    space, threat = PixelSpace(MEAN, STD), ThreatModel("Linf", 0.1)
    attack, loss = PGD(threat, num_steps=10, random_start=False), nn.CrossEntropyLoss()

    def loss_of(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return loss(pixels_to_logits(student, space, CLASSES)(pixels), images.labels)

    through_copy, direct = (
        attack.attack(pixels_to_logits(network, space, CLASSES), images.pixels, images.labels)
        for network in (BFloat16Copy(student).model, student)
    )
    clean = loss_of(images.pixels)
    assert through_copy.dtype == torch.float32
    assert threat.contains(images.pixels, through_copy).all()
    assert loss_of(through_copy) - clean > 0.95 * (loss_of(direct) - clean) > 0
