"""What an attack leaves behind in the model: nothing, module by module and parameter by parameter."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from adsr_hf.attacks import PGD, PixelSpace, ThreatModel
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.networks.classifier import pixels_to_logits
from tests.tiny import CLASSES, MEAN, STD, TinyImages, tiny_model


def all_training(model: nn.Module) -> None:
    model.train()


def all_eval(model: nn.Module) -> None:
    model.eval()


def partially_frozen(model: nn.Module) -> None:
    """As a careful user does: the embedder frozen and its BatchNorm kept in eval mode inside a training model."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("embedder" not in name and not name.endswith("bias"))


def training_leaves_in_an_eval_root(model: nn.Module) -> None:
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()


STATES = [all_training, all_eval, partially_frozen, training_leaves_in_an_eval_root]
Prepare = Callable[[nn.Module], None]


def modes_and_flags(model: nn.Module) -> tuple[dict[str, bool], dict[str, bool]]:
    modes = {name: module.training for name, module in model.named_modules()}
    return modes, {name: parameter.requires_grad for name, parameter in model.named_parameters()}


@pytest.fixture
def model() -> nn.Module:
    return tiny_model("resnet")


@pytest.mark.parametrize("prepare", STATES)
@pytest.mark.parametrize("keep_modes", [False, True])
def test_everything_is_put_back(model: nn.Module, prepare: Prepare, keep_modes: bool) -> None:
    prepare(model)
    before = modes_and_flags(model)
    with under_attack(model, keep_modes=keep_modes):
        modes, flags = modes_and_flags(model)
        assert not any(flags.values())
        assert modes == before[0] if keep_modes else not any(modes.values())
    assert modes_and_flags(model) == before


@pytest.mark.parametrize("prepare", STATES)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_put_back_when_the_attack_raises(
    model: nn.Module, prepare: Prepare, error: type[BaseException]
) -> None:
    prepare(model)
    before = modes_and_flags(model)
    with pytest.raises(error), under_attack(model):
        raise error
    assert modes_and_flags(model) == before


def test_nested_attacks_are_put_back_in_turn(model: nn.Module) -> None:
    partially_frozen(model)
    before = modes_and_flags(model)
    with under_attack(model):
        with under_attack(model, keep_modes=True):
            pass
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not any(module.training for module in model.modules())
    assert modes_and_flags(model) == before


@pytest.mark.parametrize("keep_modes", [False, True])
def test_gradients_are_bit_identical_and_statistics_move_in_train_mode_only(
    model: nn.Module, keep_modes: bool
) -> None:
    images = TinyImages(8)
    model.train()
    model(pixel_values=images.pixel_values).logits.square().sum().backward()
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    attack = PGD(ThreatModel("Linf", 0.1), num_steps=3)
    with under_attack(model, keep_modes=keep_modes):
        attack.attack(pixels_to_logits(model, PixelSpace(MEAN, STD), CLASSES), images.pixels, images.labels)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, gradients[name])
    moved = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, buffers[name])}
    assert moved == (set(buffers) if keep_modes else set())
