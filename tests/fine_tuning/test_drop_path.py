"""Drop path is off inside the attack, unless the paper's train mode is asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import CLASSES, TinyImages, position_of, tiny_model, tiny_trainer

FAMILIES = ("beit", "swin", "convnext")


def attacked_twice(trainer: Any) -> list[torch.Tensor]:
    images = TinyImages(8)
    targets = torch.nn.functional.one_hot(images.labels, CLASSES).float()
    found, attack = [], trainer.run.method_step.attack
    for seed in range(2):
        attack.generator.manual_seed(0)
        # What drop path would draw from.
        torch.manual_seed(seed)
        found.append(attack.run(trainer.model, images.pixels, targets, {}, position_of(trainer))[0])
    return found


def dropping(family: str, folder: Path, **config: Any) -> Any:
    extra = {"layer_scale_init_value": 1.0} if family == "convnext" else {}
    model = tiny_model(family, drop_path_rate=0.9, initializer_range=0.3, **extra)
    model.train()
    return tiny_trainer(folder, model=model, attack_steps=5, **config)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_attacks_from_the_same_start_are_identical(family: str, tmp_path: Path) -> None:
    trainer = dropping(family, tmp_path)
    trainer.model.classifier.eval()
    modes = {name: module.training for name, module in trainer.model.named_modules()}
    first, second = attacked_twice(trainer)
    assert torch.equal(first, second)
    assert {name: module.training for name, module in trainer.model.named_modules()} == modes
    assert set(modes.values()) == {True, False}


@pytest.mark.parametrize("family", FAMILIES)
def test_in_train_mode_they_are_not(family: str, tmp_path: Path) -> None:
    first, second = attacked_twice(dropping(family, tmp_path, attack_mode="train"))
    assert not torch.equal(first, second)
