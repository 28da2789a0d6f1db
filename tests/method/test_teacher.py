"""The moving average: closed form, buffers, storage, state, dtypes."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.classifier import bare_copy
from adsr_hf.networks.weights import load_tensors, save_tensors
from tests.tiny import SIZE, TinyImages, tiny_model, tiny_trainer, tiny_vit


def disturb(model: nn.Module, seed: int) -> None:
    """An optimizer step with a life of its own: every float moves, every counter counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in tensors(model).items():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator).to(tensor.dtype) / 10)
            elif name.endswith("num_batches_tracked"):
                tensor.add_(seed + 1)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


@pytest.fixture
def images() -> Tensor:
    return TinyImages(4).pixel_values


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_closed_form_after_many_updates(family: str) -> None:
    """φ_n = γⁿ θ_0 + (1 − γ) Σ γ^(n−i) θ_i, in float64; counters are those of the last student."""
    decay, updates = 0.9, 25
    student = tiny_model(family)
    teacher = EMATeacher(student, decay)
    history = [copy.deepcopy(tensors(student))]
    for seed in range(updates):
        disturb(student, seed)
        teacher.update(student)
        history.append(copy.deepcopy(tensors(student)))
    weights = [decay**updates, *((1 - decay) * decay ** (updates - i) for i in range(1, updates + 1))]
    for name, average in tensors(teacher.model).items():
        if average.is_floating_point():
            expected = sum(weight * state[name].double() for weight, state in zip(weights, history, strict=True))
            torch.testing.assert_close(average.double(), expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(average, history[-1][name])


def test_batch_norm_buffers_are_averaged_and_its_counter_copied() -> None:
    student = tiny_model("resnet")
    teacher = EMATeacher(student, 0.75)
    before = {name: buffer.clone() for name, buffer in student.named_buffers()}
    student.train()(pixel_values=TinyImages(8).pixel_values)
    teacher.update(student)
    after, averaged = dict(student.named_buffers()), dict(teacher.model.named_buffers())
    counters = [name for name in before if name.endswith("num_batches_tracked")]
    variances = [name for name in before if name.endswith("running_var")]
    assert counters
    assert variances
    for name in counters:
        assert averaged[name].item() == 1
    for name in variances:
        assert not torch.equal(after[name], before[name])
        torch.testing.assert_close(averaged[name], 0.75 * before[name] + 0.25 * after[name])


def test_no_storage_is_shared() -> None:
    student = tiny_model("resnet")
    teacher = EMATeacher(student, 0.9)
    teacher.update(student)
    mine, theirs = ({t.untyped_storage().data_ptr() for t in tensors(m).values()} for m in (teacher.model, student))
    assert len(mine) == len(tensors(student))
    assert not mine & theirs


def test_decay_zero_follows_exactly() -> None:
    student = tiny_vit()
    teacher = EMATeacher(student, 0.0)
    disturb(student, 1)
    teacher.update(student)
    for name, value in tensors(student).items():
        assert torch.equal(tensors(teacher.model)[name], value)


def test_stays_in_eval_mode_without_gradients(images: Tensor) -> None:
    student = tiny_vit(hidden_dropout_prob=0.5).train()
    teacher = EMATeacher(student, 0.9)
    teacher.update(student)
    first, second = teacher.forward(images).logits, teacher.forward(images).logits
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert not any(module.training for module in teacher.model.modules())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert all(module.training for module in student.modules())
    assert all(parameter.requires_grad for parameter in student.parameters())


@pytest.mark.parametrize("family", ["vit", "beit", "swin", "resnet"])
def test_state_round_trip_through_a_file(family: str, tmp_path: Path, images: Tensor) -> None:
    student = tiny_model(family)
    teacher = EMATeacher(student, 0.9)
    disturb(student, 3)
    teacher.update(student)
    save_tensors(tmp_path / "teacher.safetensors", teacher.state_dict())
    other = EMATeacher(tiny_model(family, seed=5), 0.9)
    other.load_state_dict(load_tensors(tmp_path / "teacher.safetensors"))
    for name, value in tensors(teacher.model).items():
        assert torch.equal(tensors(other.model)[name], value)
    assert torch.equal(other.forward(images).logits, teacher.forward(images).logits)


def test_state_also_has_what_an_ordinary_checkpoint_leaves_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_buffer("unsaved", torch.ones(3), persistent=False)
    assert "unsaved" in EMATeacher(model).state_dict()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("classifier.bias"), "missing ['classifier.bias']"),
        (lambda state: state.update(stray=torch.ones(1)), "unexpected ['stray']"),
        (lambda state: state.update({"classifier.bias": torch.ones(9)}), "classifier.bias has shape (9,)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: Callable[[dict[str, Tensor]], None], named: str) -> None:
    teacher = EMATeacher(tiny_vit())
    state = dict(teacher.state_dict())
    change(state)
    with pytest.raises(ValueError, match=re.escape(named)):
        teacher.load_state_dict(state)


def test_a_refused_state_changes_nothing() -> None:
    teacher = EMATeacher(tiny_vit())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    wrong = {name: value + 1 for name, value in before.items()} | {"classifier.bias": torch.ones(9)}
    with pytest.raises(ValueError, match=r"classifier\.bias"):
        teacher.load_state_dict(wrong)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_bfloat16_student_is_averaged_in_float32() -> None:
    """Steps of (1 − γ) = 0.001 are below bfloat16's resolution of 1/256: in bfloat16 nothing would ever move."""
    student = tiny_vit().bfloat16()
    teacher = EMATeacher(student, 0.999)
    start = student.classifier.weight.detach().double()
    with torch.no_grad():
        student.classifier.weight.add_(1.0)
    end = student.classifier.weight.detach().double()
    for _ in range(10):
        teacher.update(student)
    average = teacher.model.classifier.weight
    assert average.dtype == torch.float32
    weight = 0.999**10
    torch.testing.assert_close(average.double(), weight * start + (1 - weight) * end, rtol=0, atol=1e-6)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay="):
        EMATeacher(tiny_vit(), decay)


class TestForwardWrappedForMixedPrecision:
    """accelerate replaces ``forward`` in the instance by one that is bound to the original."""

    @pytest.fixture
    def student(self, tmp_path: Path) -> nn.Module:
        model = tiny_vit()
        tiny_trainer(tmp_path, model=model, bf16=True).accelerator.prepare_model(model)
        assert "forward" in model.__dict__
        return model

    def test_the_copy_computes_with_its_own_weights_in_float32(self, student: nn.Module, images: Tensor) -> None:
        teacher = EMATeacher(student, 0.9)
        expected = tiny_vit()(pixel_values=images).logits
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.zero_()
        torch.testing.assert_close(teacher.forward(images).logits, expected)

    def test_the_original_keeps_its_wrapped_forward(self, student: nn.Module) -> None:
        wrapped = student.__dict__["forward"]
        copied = bare_copy(student)
        assert student.__dict__["forward"] is wrapped
        assert "forward" not in copied.__dict__
        with torch.no_grad():
            assert student(pixel_values=torch.zeros(1, 3, SIZE, SIZE)).logits.isfinite().all()
