"""Auto-PGD for training: equal to its authors' code, inside the threat model, on soft targets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from adsr_hf.attacks import PGD, AutoPGD, ThreatModel

CLASSES = 5


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 32), nn.GELU(), nn.Linear(32, CLASSES))
    return layers.double().float().requires_grad_(False)


def batch(seed: int = 0, number: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(number, 3, 8, 8, generator=generator)
    return images, torch.randint(CLASSES, (number,), generator=generator)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_equals_the_authors_code(norm: str, steps: int) -> None:
    model, (images, labels) = network(), batch()
    threat = ThreatModel(norm, {"Linf": 8 / 255, "L2": 0.8}[norm])
    theirs = APGDAttack(model, n_iter=steps, norm=norm, eps=threat.epsilon, loss="ce", device="cpu", seed=0)
    theirs.init_hyperparam(images)
    expected, _, expected_loss, _ = theirs.attack_single_run(images, labels, x_init=images)
    found = AutoPGD(threat, num_steps=steps, random_start=False).attack(model, images, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    losses = nn.functional.cross_entropy(model(found), labels, reduction="none")
    torch.testing.assert_close(losses, expected_loss, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["Linf", "L2"]), epsilon=st.floats(0.0, 0.5))
def test_stays_inside_and_never_ends_below_its_start(seed: int, norm: str, epsilon: float) -> None:
    model, (images, _) = network(seed), batch(seed, number=4)
    threat = ThreatModel(norm, epsilon)
    targets = torch.softmax(torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(seed)), 1)
    found = AutoPGD(threat, num_steps=2, random_start=False).attack(model, images, targets)
    assert threat.contains(images, found).all()

    def loss(points: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(points), targets, reduction="none")

    assert (loss(found) >= loss(images) - 1e-6).all()


def test_two_steps_beat_pgd_of_two_steps() -> None:
    model, (images, labels) = network(), batch(number=64)
    threat = ThreatModel("Linf", 8 / 255)
    losses = [
        nn.functional.cross_entropy(model(attack.attack(model, images, labels)), labels).item()
        for attack in (AutoPGD(threat, num_steps=2, random_start=False), PGD(threat, num_steps=1, random_start=False))
    ]
    assert losses[0] >= losses[1] - 1e-6


def test_restarts_keep_the_worst_of_each_image() -> None:
    model, (images, labels) = network(), batch()
    threat = ThreatModel("Linf", 8 / 255)
    generator = torch.Generator().manual_seed(3)
    runs = [AutoPGD(threat).attack(model, images, labels, generator=generator) for _ in range(3)]
    together = AutoPGD(threat, restarts=3).attack(model, images, labels, generator=generator.manual_seed(3))
    losses = torch.stack([nn.functional.cross_entropy(model(run), labels, reduction="none") for run in runs])
    for row, best in enumerate(losses.argmax(0).tolist()):
        assert torch.equal(together[row], runs[best][row])


@pytest.mark.parametrize("near", [None, 0.001])
def test_start_near_the_image_or_anywhere(near: float | None) -> None:
    """A constant network moves nothing, so that the start is what comes back."""
    images, labels = batch()
    threat = ThreatModel("Linf", 8 / 255)
    weights = torch.zeros(3 * 8 * 8, CLASSES)
    attack = AutoPGD(threat, num_steps=1, start_deviation=near)
    found = attack.attack(lambda pixels: pixels.flatten(1) @ weights, images, labels, generator=torch.Generator())
    moved = (found - images).abs()
    assert 0 < moved.max() <= (0.006 if near else 8 / 255 + 1e-6)
    assert (moved.mean() < 0.001) == (near is not None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 0}, "num_steps=0 must be at least 1"),
        ({"restarts": 0}, "restarts=0 must be at least 1"),
        ({"restarts": 2, "random_start": False}, "needs random_start=True"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoPGD(ThreatModel("Linf", 0.1), **arguments)
