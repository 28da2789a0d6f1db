"""A teacher beside frozen weights: it averages and stores what is trained, and shares the rest."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.fine_tuning.freezing import freeze
from adsr_hf.fine_tuning.lora import add_adapters
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.adapted import base_network
from adsr_hf.networks.classifier import bare_copy
from adsr_hf.networks.weights import load_tensors, save_tensors
from tests.tiny import TinyImages, tiny_model, tiny_vit

IMAGES = TinyImages(8)


def lora_vit(**config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return add_adapters(tiny_vit(**config), rank=2)


def frozen_resnet() -> nn.Module:
    model = tiny_model("resnet")
    freeze(model, ["embedder", "stages.0"])
    return model


def numbers(tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)


def trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(pixel_values=IMAGES.pixel_values).logits, IMAGES.labels).backward()
    optimizer.step()


class FullCopy:
    """The moving average of everything, tensor by tensor, in float64."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = bare_copy(model).double().eval(), decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            average = self.decay * mine + (1 - self.decay) * theirs if mine.is_floating_point() else theirs
            mine.copy_(average)


@pytest.mark.parametrize("make", [lora_vit, frozen_resnet])
def test_equals_a_full_copy(make: Any) -> None:
    student = make()
    teacher, full = EMATeacher(student, 0.8), FullCopy(student, 0.8)
    optimizer = torch.optim.SGD(trained(student).values(), lr=0.3)
    for _ in range(10):
        step(student, optimizer)
        teacher.update(student)
        full.update(student)
    expected = full.model.state_dict()
    for name, tensor in teacher.model.state_dict().items():
        torch.testing.assert_close(tensor.double(), expected[name].double(), rtol=0, atol=1e-6)
    with torch.no_grad():
        reference = full.model(pixel_values=IMAGES.pixel_values.double()).logits
        own = student.eval()(pixel_values=IMAGES.pixel_values).logits
    found = teacher.forward(IMAGES.pixel_values).logits
    torch.testing.assert_close(found.double(), reference, rtol=0, atol=1e-6)
    assert (found - own).abs().max() > 1e-3


def test_the_state_is_hardly_larger_than_what_is_trained() -> None:
    student = lora_vit(hidden_size=64, intermediate_size=256)
    state = EMATeacher(student).state_dict()
    assert numbers(state.values()) <= 1.1 * numbers(trained(student).values())
    assert 10 * numbers(state.values()) < numbers(student.parameters())


@pytest.mark.parametrize("make", [lora_vit, frozen_resnet])
def test_frozen_storage_is_the_students_and_trained_storage_is_not(make: Any) -> None:
    student = make()
    teacher = EMATeacher(student)
    theirs = dict(student.named_parameters())
    for name, mine in teacher.model.named_parameters():
        assert (mine is theirs[name]) == (not theirs[name].requires_grad)
        assert (mine.data_ptr() == theirs[name].data_ptr()) == (not theirs[name].requires_grad)
        assert not mine.requires_grad
    buffers = {buffer.data_ptr() for buffer in student.buffers()}
    assert not buffers & {buffer.data_ptr() for buffer in teacher.model.buffers()}


def test_the_student_is_left_as_it_was() -> None:
    student = lora_vit()
    flags = {name: parameter.requires_grad for name, parameter in student.named_parameters()}
    before = {name: value.clone() for name, value in student.state_dict().items()}
    student.train()
    teacher = EMATeacher(student, 0.5)
    teacher.load_state_dict({name: value + 1 for name, value in teacher.state_dict().items()})
    teacher.update(student)
    assert {name: parameter.requires_grad for name, parameter in student.named_parameters()} == flags
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert base_network(student).training
    assert not any(module.training for module in teacher.model.modules())


@pytest.mark.parametrize("make", [lora_vit, frozen_resnet])
def test_a_bfloat16_student_keeps_its_weights_and_is_averaged_in_float32(make: Any) -> None:
    student = make().bfloat16()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    teacher = EMATeacher(student, 0.999)
    with torch.no_grad():
        for parameter in trained(student).values():
            parameter.add_(1.0)
    teacher.update(student)
    for name, parameter in student.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert parameter.requires_grad or torch.equal(parameter, before[name])
    for name, average in teacher.model.named_parameters():
        start, end = before[name].double(), student.state_dict()[name].double()
        torch.testing.assert_close(average.double(), 0.999 * start + 0.001 * end, rtol=0, atol=1e-6)
    assert teacher.forward(IMAGES.pixel_values).logits.dtype == torch.float32
    assert numbers(teacher.state_dict().values()) <= numbers(trained(student).values()) + numbers(student.buffers())


def test_state_round_trip_through_a_file(tmp_path: Any) -> None:
    student = lora_vit()
    teacher = EMATeacher(student, 0.5)
    step(student, torch.optim.SGD(trained(student).values(), lr=1.0))
    teacher.update(student)
    save_tensors(tmp_path / "teacher.safetensors", teacher.state_dict())
    other = EMATeacher(lora_vit(), 0.5)
    other.load_state_dict(load_tensors(tmp_path / "teacher.safetensors"))
    assert torch.equal(other.forward(IMAGES.pixel_values).logits, teacher.forward(IMAGES.pixel_values).logits)


def test_the_state_of_a_teacher_with_other_frozen_parts_is_refused() -> None:
    model = tiny_vit()
    freeze(model, ["embeddings"])
    with pytest.raises(ValueError, match=r"missing \[\], unexpected \['vit\.embeddings\.cls_token.*freeze what was"):
        EMATeacher(model).load_state_dict(EMATeacher(tiny_vit()).state_dict())


def test_what_was_frozen_at_first_must_stay_so() -> None:
    model = tiny_vit()
    freeze(model, ["embeddings"])
    teacher = EMATeacher(model)
    model.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"vit\.embeddings\.cls_token was frozen when the teacher was built"):
        teacher.update(model)
