"""The attack of a run: its strength along the run, its random numbers, and what it leaves as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from adsr_hf.attacks import PixelSpace
from adsr_hf.training.attack import TrainingAttack
from adsr_hf.training.compilation import CompiledNetworks
from adsr_hf.training.position import RunPosition
from tests.tiny import CLASSES, MEAN, STD, TinyImages, tiny_config, tiny_vit


def training_attack(folder: Path, **config: Any) -> TrainingAttack:
    args = tiny_config(folder, **({"epsilon": "8/255"} | config))
    return TrainingAttack(
        args,
        pixel_space=PixelSpace(MEAN, STD),
        num_classes=CLASSES,
        accelerator=Accelerator(cpu=True),
        compiled=CompiledNetworks(args),
    )


def at(step: int) -> RunPosition:
    return RunPosition(step=step, steps_per_epoch=4, schedule_steps=40)


def test_the_radius_grows_along_the_ramp(tmp_path: Path) -> None:
    attack = training_attack(tmp_path, epsilon_ramp_epochs=2)
    radii = [attack.at(at(step)).threat.epsilon for step in (0, 3, 7, 20)]
    assert radii == pytest.approx([8 / 255 * share for share in (1 / 8, 4 / 8, 1, 1)])


def test_the_radius_is_held_at_zero_first_and_then_grows(tmp_path: Path) -> None:
    attack = training_attack(tmp_path, epsilon_zero_share=0.25, epsilon_ramp_share=0.5)
    radii = [attack.at(at(step)).threat.epsilon for step in (0, 9, 10, 19, 29, 39)]
    assert radii == pytest.approx([8 / 255 * share for share in (0, 0, 1 / 20, 10 / 20, 1, 1)])
    assert attack.schedules_by_length() == ["epsilon_zero_share", "epsilon_ramp_share"]


def test_no_image_is_attacked_while_the_radius_is_zero(tmp_path: Path) -> None:
    attack, images = training_attack(tmp_path, epsilon_zero_share=0.5, collapse_guard="warn"), TinyImages(4)
    attack.begin(tiny_vit())

    def unused(**_: Any) -> None:
        raise AssertionError("the network was asked")

    model: Any = unused
    targets = torch.nn.functional.one_hot(images.labels, CLASSES).float()
    found, figures = attack.run(model, images.pixels, targets, {}, at(19))
    assert found is images.pixels
    assert figures["epsilon"] == 0
    assert attack.watch(model, images.pixels, images.pixels, images.labels, {}, at(0)) == {}


def test_a_collapse_switches_to_two_steps_until_the_next_run(tmp_path: Path) -> None:
    attack = training_attack(tmp_path, method="pgd_at", attack_steps=1, collapse_guard="two_steps")
    assert attack.at(at(0)).num_steps == 1
    attack.guard.collapsed = True
    assert attack.at(at(0)).num_steps == 2
    attack.begin(tiny_vit())
    assert attack.at(at(0)).num_steps == 1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_images_stay_in_the_ball_and_the_model_as_it_was(tmp_path: Path, precision: str) -> None:
    attack, model = training_attack(tmp_path, attack_precision=precision, attack_steps=3), tiny_vit().train()
    attack.begin(model)
    images = TinyImages(8)
    targets = torch.nn.functional.one_hot(images.labels, CLASSES).float()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found, figures = attack.run(model, images.pixels, targets, {}, at(5))
    assert (found - images.pixels).abs().max() <= 8 / 255 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert not torch.equal(found, images.pixels)
    assert figures["epsilon"] == pytest.approx(8 / 255)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert model.training


def test_what_is_drawn_goes_on_from_a_saved_state(tmp_path: Path) -> None:
    first, second, model = training_attack(tmp_path), training_attack(tmp_path, seed=7), tiny_vit()
    images, targets = TinyImages(4), torch.eye(CLASSES)
    for attack in (first, second):
        attack.begin(model)
    first.run(model, images.pixels, targets, {}, at(0))
    first.mixing_generator()
    second.load_state_dict(first.state_dict())
    ours, theirs = (attack.run(model, images.pixels, targets, {}, at(1))[0] for attack in (first, second))
    assert torch.equal(ours, theirs)
    assert first.mixing_generator().random() == second.mixing_generator().random()


def test_the_copy_is_of_the_weights_after_each_step(tmp_path: Path) -> None:
    """Within a step it is the same; after the next it has the student's new weights."""
    attack, model = training_attack(tmp_path, attack_precision="bf16", attack_random_start=False), tiny_vit()
    images, targets = TinyImages(4), torch.eye(CLASSES)
    attack.begin(model)
    first = attack.run(model, images.pixels, targets, {}, at(0))[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.5)
    assert torch.equal(attack.run(model, images.pixels, targets, {}, at(0))[0], first)
    fresh = training_attack(tmp_path, attack_precision="bf16", attack_random_start=False)
    fresh.begin(model)
    expected = fresh.run(model, images.pixels, targets, {}, at(1))[0]
    assert torch.equal(attack.run(model, images.pixels, targets, {}, at(1))[0], expected)


def test_the_guard_looks_once_a_due_step(tmp_path: Path) -> None:
    attack, model = (
        training_attack(tmp_path, method="pgd_at", collapse_guard="warn", collapse_guard_steps=5),
        tiny_vit(),
    )
    attack.begin(model)
    images = TinyImages(4)
    seen = [
        bool(attack.watch(model, images.pixels, images.pixels, images.labels, {}, at(step)))
        for step in (0, 0, 1, 5, 5, 6)
    ]
    assert seen == [True, False, False, True, False, False]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"epsilon_ramp_epochs": 3}, "epsilon_ramp_epochs=3 is longer than the run .max_steps=8, 2 epochs"),
        (
            {"weight_perturbation": "awp", "weight_perturbation_warmup_epochs": 2},
            "weight_perturbation_warmup_epochs=2 is as long as the run",
        ),
        ({"attack_schedule": {2: {"attack_steps": 3}}}, "attack_schedule has an entry at epoch 2"),
    ],
)
def test_what_would_never_be_reached_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    args = tiny_config(tmp_path, max_steps=8, **config)
    with pytest.raises(ValueError, match=message):
        args.check_lengths(epochs=2, run="max_steps=8, 2 epochs")
    args.check_lengths(epochs=4, run="max_steps=16, 4 epochs")
