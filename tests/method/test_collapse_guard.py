"""Catastrophic overfitting is noticed once, and not mistaken for ordinary learning."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adsr_hf.attacks import PGD
from adsr_hf.method.collapse_guard import CollapseGuard
from adsr_hf.training.checkpoints import write_manifest
from tests.tiny import position_of, tiny_trainer

SMALL, FULL = 2 / 255, 8 / 255


def looks(*accuracies: tuple[float, ...]) -> list[bool]:
    """What the guard says to (training accuracy, PGD accuracy) at FULL, or at a third value."""
    guard = CollapseGuard()
    return [
        guard.look(training_accuracy=training, pgd_accuracy=pgd, radius=radius[0] if radius else FULL)
        for training, pgd, *radius in accuracies
    ]


def test_a_collapse_is_reported_once() -> None:
    assert looks((0.3, 0.2), (0.5, 0.4), (0.6, 0.3), (0.9, 0.1), (0.95, 0.0)) == [False, False, False, True, False]


def test_a_best_at_a_smaller_radius_hides_no_collapse() -> None:
    assert looks((0.82, 0.80, SMALL), (0.50, 0.45, FULL), (0.78, 0.00, FULL)) == [False, False, True]


def test_a_collapse_while_the_radius_grows_is_seen() -> None:
    assert looks((0.50, 0.45, 0.010), (0.80, 0.05, 0.011), (0.85, 0.00, 0.012)) == [False, True, False]


def test_a_best_before_the_radius_grew_is_forgotten() -> None:
    """0.35 is less than half of 0.8, and training accuracy is back where it was, but so it was at this radius."""
    assert not any(looks((0.5, 0.8, SMALL), (0.4, 0.38, FULL), (0.5, 0.35, FULL)))


@pytest.mark.parametrize(
    "pairs",
    [
        [(0.3, 0.3), (0.4, 0.35), (0.5, 0.4), (0.55, 0.38)],
        # Everything gets worse, as while the radius still grows.
        [(0.8, 0.8, 0.01), (0.5, 0.35, 0.02), (0.3, 0.15, 0.03)],
        [(0.1, 0.0), (0.2, 0.0), (0.3, 0.1)],
    ],
)
def test_ordinary_runs_do_not_collapse(pairs: list[tuple[float, float]]) -> None:
    assert not any(looks(*pairs))


def test_state_goes_through_tensors() -> None:
    guard, other = CollapseGuard(), CollapseGuard()
    for training, pgd in ((0.5, 0.41), (0.9, 0.0)):
        guard.look(training_accuracy=training, pgd_accuracy=pgd, radius=FULL)
    other.load_state_dict(guard.state_dict())
    assert vars(other) == vars(guard)
    assert (other.collapsed, other.radius) == (True, FULL)


@pytest.fixture
def collapsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard's own attack, and no other, finds everything from the third look on."""
    original = PGD.attack
    calls = iter(range(100))

    def attack(self: PGD, logits_fn, images: Tensor, targets: Tensor, **kwargs) -> Tensor:
        if self.num_steps != 10:
            return original(self, logits_fn, images, targets, **kwargs)
        # Images of its own class for all: right at first, of other classes later.
        order = torch.arange(len(images)) if next(calls) < 2 else (torch.arange(len(images)) + 1) % len(images)
        return images[order]

    monkeypatch.setattr(PGD, "attack", attack)


def run(folder: Path, guard: str):
    trainer = tiny_trainer(
        folder,
        method="pgd_at",
        attack_steps=1,
        epsilon="1/255",
        collapse_guard=guard,
        collapse_guard_steps=20,
        max_steps=80,
        learning_rate=1e-2,
        logging_steps=1,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("guard", ["warn", "two_steps"])
def test_training_says_so_and_can_switch(
    tmp_path: Path, collapsing: None, guard: str, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers.utils import logging

    logging.get_logger("transformers").propagate = True
    trainer = run(tmp_path, guard)
    assert "catastrophic overfitting at step" in caplog.text
    assert trainer.run.method_step.attack.guard.collapsed
    assert trainer.run.method_step.attack.at(position_of(trainer)).num_steps == (2 if guard == "two_steps" else 1)
    assert [line["step"] for line in trainer.state.log_history if "guard_pgd_accuracy" in line] == [0, 20, 40, 60]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_continued_run_remembers_the_collapse(tmp_path: Path, collapsing: None, processes: int) -> None:
    """Training goes on with two steps after a resume, although the guard does not look again."""
    settings = {
        "method": "pgd_at",
        "attack_steps": 1,
        "epsilon": "1/255",
        "collapse_guard": "two_steps",
        "collapse_guard_steps": 20,
        "max_steps": 50,
        "learning_rate": 1e-2,
        "save_strategy": "steps",
        "save_steps": 45,
    }
    first = tiny_trainer(tmp_path, **settings)
    first.train()
    assert first.run.method_step.attack.guard.collapsed
    checkpoint = tmp_path / "checkpoint-45"
    if processes == 2:
        # What a second process would have left; both know the guard.
        shutil.copy(checkpoint / "process_0.safetensors", checkpoint / "process_1.safetensors")
        write_manifest(checkpoint)
    continued = tiny_trainer(tmp_path, **settings)
    continued.train(resume_from_checkpoint=str(checkpoint))
    assert vars(continued.run.method_step.attack.guard) == vars(first.run.method_step.attack.guard)
    assert continued.run.method_step.attack.at(position_of(continued)).num_steps == 2
