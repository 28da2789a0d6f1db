"""What LeViT derives from its weights in eval mode and keeps: it is never older than the weights."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LevitConfig, LevitForImageClassification

from adsr_hf.attacks.frozen import under_attack
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.method.weight_perturbation import WeightPerturbation
from adsr_hf.networks.classifier import bare_copy
from adsr_hf.networks.modes import forget_derived_tensors, modes_of, set_modes
from adsr_hf.networks.weights import load_raw_weights, load_weights, save_tensors
from adsr_hf.publishing.head import fold_temperature
from adsr_hf.training.low_precision import BFloat16Copy
from tests.tiny import CLASSES, SIZE, TinyImages, tiny_trainer

LARGE = nn.functional.interpolate(TinyImages(6, seed=2).pixel_values, scale_factor=4)


def levit(seed: int = 0) -> LevitForImageClassification:
    """With attention biases, which are zero in a new one, and weights that are large enough for logits to differ."""
    config = LevitConfig(
        image_size=4 * SIZE,
        hidden_sizes=[16, 16, 16],
        num_attention_heads=[1, 1, 1],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
        num_labels=CLASSES,
    )
    torch.manual_seed(seed)
    model = LevitForImageClassification(config)
    model.classifier.linear = KeptHead(16, CLASSES)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            biases = name.endswith("attention_biases")
            nn.init.normal_(parameter, std=2.0 if biases else parameter[0].numel() ** -0.5)
    return model.eval()


class KeptHead(nn.Linear):
    """Derives its weight once, as LeViT its biases."""

    kept: Tensor | None = None

    def train(self, mode: bool = True) -> "KeptHead":
        self.kept = None if mode else self.kept
        return super().train(mode)

    def forward(self, features: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = self.weight.detach().clone()
        return nn.functional.linear(features, self.weight if self.training else self.kept, self.bias)


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return model(pixel_values=LARGE.to(next(model.parameters()).dtype)).logits


def fresh(model: nn.Module) -> Tensor:
    """What a new network with the same weights says."""
    new = levit(seed=9).to(next(model.parameters()).dtype)
    new.load_state_dict(model.state_dict())
    return logits(new)


def test_the_trap_is_there() -> None:
    """LeViT itself; once this fails, the classes that it stands for need another example."""
    model = levit()
    logits(model)
    model.load_state_dict(levit(seed=1).state_dict())
    assert not torch.allclose(logits(model), fresh(model), atol=1e-3)
    forget_derived_tensors(model)
    torch.testing.assert_close(logits(model), fresh(model))


def test_a_teacher_follows() -> None:
    teacher = EMATeacher(levit(), 0.5)
    logits(teacher.model)
    teacher.update(levit(seed=1))
    torch.testing.assert_close(logits(teacher.model), fresh(teacher.model))
    teacher.load_state_dict(EMATeacher(levit(seed=2)).state_dict())
    torch.testing.assert_close(logits(teacher.model), logits(levit(seed=2)))


def test_the_attacked_copy_follows() -> None:
    copied = BFloat16Copy(levit())
    logits(copied.model)
    copied.refresh(levit(seed=1))
    torch.testing.assert_close(logits(copied.model), fresh(copied.model))


def loaded_from_a_checkpoint(model: Any, folder: Path) -> None:
    levit(seed=1).save_pretrained(folder)
    load_weights(model, folder)


def loaded_under_its_own_names(model: Any, folder: Path) -> None:
    save_tensors(folder / "raw.safetensors", levit(seed=1).state_dict())
    load_raw_weights(model, folder / "raw.safetensors")


def calibrated(model: Any, folder: Path) -> None:
    fold_temperature(model, 0.1, LARGE)


def perturbed(model: Any, folder: Path) -> None:
    forget_derived_tensors(model)
    WeightPerturbation(model, radius=0.5).perturb(lambda network: network(LARGE).logits.square().sum())


@pytest.mark.parametrize("change", [loaded_from_a_checkpoint, loaded_under_its_own_names, calibrated, perturbed])
def test_changed_weights_are_used(change: Callable[[Any, Path], None], tmp_path: Path) -> None:
    model = levit()
    before = logits(model)
    change(model, tmp_path)
    torch.testing.assert_close(logits(model), fresh(model))
    assert not torch.allclose(logits(model), before, atol=1e-3)


def test_restored_weights_are_used() -> None:
    model = levit()
    before = logits(model)
    forget_derived_tensors(model)
    perturbation = WeightPerturbation(model, radius=0.5)
    perturbation.perturb(lambda network: network(LARGE).logits.square().sum())
    logits(model)
    perturbation.restore()
    torch.testing.assert_close(logits(model), before)


def test_a_copy_forgets_and_its_original_may_have_a_graph() -> None:
    """A deep copy of a tensor with a gradient fails."""
    model = levit()
    model(LARGE)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    copied = bare_copy(model)
    copied.load_state_dict(levit(seed=1).state_dict())
    torch.testing.assert_close(logits(copied), logits(levit(seed=1)))


@pytest.mark.parametrize("keep_modes", [True, False])
def test_an_attack_neither_takes_nor_leaves_what_is_stale(keep_modes: bool) -> None:
    model = levit()
    logits(model)
    model.load_state_dict(levit(seed=1).state_dict())
    with under_attack(model, keep_modes=keep_modes):
        torch.testing.assert_close(logits(model), fresh(model))
    model(LARGE).logits.square().sum().backward()
    biases = [parameter for name, parameter in model.named_parameters() if name.endswith("attention_biases")]
    assert biases
    assert all(parameter.grad is not None for parameter in biases)


class LevitImages(TinyImages):
    """Large enough for LeViT's four strided convolutions."""

    def __init__(self, length: int = 32, *, seed: int = 0) -> None:
        super().__init__(length, seed=seed)
        self.pixel_values = nn.functional.interpolate(self.pixel_values, scale_factor=4)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_whole_run(tmp_path: Path, precision: str) -> None:
    """The best step is the first: weights are loaded back into networks that have just been evaluated."""

    def rising(_: Any) -> dict[str, float]:
        rising.calls -= 1
        return {"made_up": rising.calls}

    rising.calls = 9
    trainer = tiny_trainer(
        tmp_path,
        model=levit(),
        train_dataset=LevitImages(),
        eval_dataset=LevitImages(8, seed=1),
        attack_precision=precision,
        learning_rate=0.1,
        compute_metrics=rising,
        metric_for_best_model="made_up",
        load_best_model_at_end=True,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
    )
    trainer.train()
    assert trainer.state.best_global_step == 1
    for network in (trainer.model, trainer.teacher.model):
        torch.testing.assert_close(logits(network.eval()), fresh(network))


def frozen_batch_norm(model: nn.Module) -> None:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()


class Shared(nn.Module):
    """Two parents of one module, which is in another mode than both."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Dropout()
        self.first, self.second = nn.Sequential(inner), nn.Sequential(inner)
        inner.eval()


class Pinned(nn.Module):
    """Never trains its normalisation, as many a detector does; and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.asked = nn.BatchNorm1d(2), 0

    def train(self, mode: bool = True) -> "Pinned":
        super().train(mode)
        self.asked += 1
        self.norm.eval()
        return self


@pytest.mark.parametrize("make", [levit, Shared, lambda: Pinned().train()])
@pytest.mark.parametrize("prepare", [lambda model: None, frozen_batch_norm, nn.Module.eval])
def test_modes_come_back_module_by_module(make: Callable[[], nn.Module], prepare: Callable[[Any], Any]) -> None:
    model = make()
    prepare(model)
    before = {name: module.training for name, module in model.named_modules()}
    modes = modes_of(model)
    for change in (nn.Module.train, nn.Module.eval):
        change(model)
        set_modes(modes)
        assert {name: module.training for name, module in model.named_modules()} == before
    forget_derived_tensors(model)
    assert {name: module.training for name, module in model.named_modules()} == before


def test_overrides_of_train_are_asked() -> None:
    model = Pinned().train()
    with under_attack(model):
        pass
    assert model.asked > 1
    assert not model.norm.training
