"""PGD: closed-form optima, an independent float64 attack, bookkeeping, and what it must leave alone."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adsr_hf.attacks import NORMS, PGD, ThreatModel

SHAPE = (6, 3, 4, 4)
CLASSES = 5
LINF, L2 = ThreatModel("Linf", 0.1), ThreatModel("L2", 0.5)
THREATS = pytest.mark.parametrize("threat", [LINF, L2], ids=NORMS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Waves(nn.Module):
    """A network with many local maxima, so that restarts and steps end in different places."""

    def __init__(self, frequency: float = 3.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(SHAPE[1:]), 32)
        self.head = nn.Linear(32, CLASSES)
        self.frequency = frequency
        for index, parameter in enumerate(self.parameters()):
            parameter.data.copy_(torch.randn(parameter.shape, generator=seeded(index)) / 3)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(torch.sin(self.frequency * self.hidden(pixels.flatten(1))))


@pytest.fixture(scope="module")
def model() -> Waves:
    return Waves()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(SHAPE, generator=seeded(10))


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(SHAPE[0]) % CLASSES


@pytest.fixture
def soft() -> Tensor:
    return torch.softmax(torch.randn(SHAPE[0], CLASSES, generator=seeded(11)), 1)


def losses(model: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return functional.cross_entropy(model(images), targets, reduction="none")


def linear(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """Two logits, (0, weight · x): every loss on class 0 rises along ``weight``."""
    return lambda pixels: torch.stack([torch.zeros(len(pixels)), pixels.flatten(1) @ weight.flatten()], 1)


class TestLinearOptimum:
    @pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
    @pytest.mark.parametrize("targeted", [False, True])
    @pytest.mark.parametrize("random_start", [False, True])
    @pytest.mark.parametrize("keep", ["last", "worst"])
    def test_linf_reaches_the_corner(
        self, images: Tensor, loss: str, targeted: bool, random_start: bool, keep: Any
    ) -> None:
        weight = torch.randn(SHAPE[1:], generator=seeded())
        attack = PGD(LINF, loss=loss, targeted=targeted, random_start=random_start, keep=keep)
        found = attack.attack(linear(weight), images, torch.zeros(SHAPE[0], dtype=torch.int64))
        direction = -weight.sign() if targeted else weight.sign()
        torch.testing.assert_close(found, (images + 0.1 * direction).clamp(0, 1), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("targeted", [False, True])
    @pytest.mark.parametrize(("random_start", "step_size"), [(False, None), (True, 0.5)])
    def test_l2_reaches_the_pole(
        self, images: Tensor, targeted: bool, random_start: bool, step_size: float | None
    ) -> None:
        images, weight = 0.4 + 0.2 * images, torch.randn(SHAPE[1:], generator=seeded())
        attack = PGD(L2, num_steps=20, step_size=step_size, random_start=random_start, targeted=targeted)
        found = attack.attack(linear(weight), images, torch.zeros(SHAPE[0], dtype=torch.int64))
        direction = weight / weight.norm() * (-1 if targeted else 1)
        torch.testing.assert_close(found, images + 0.5 * direction, rtol=0, atol=1e-5)

    def test_l2_takes_full_steps_on_vanishing_gradients(self, images: Tensor) -> None:
        images, weight = 0.4 + 0.2 * images, torch.randn(SHAPE[1:], generator=seeded())
        attack = PGD(L2, num_steps=1, step_size=0.25, random_start=False, loss="margin")
        found = attack.attack(linear(weight * 1e-25), images, torch.zeros(SHAPE[0], dtype=torch.int64))
        torch.testing.assert_close(found, images + 0.25 * weight / weight.norm(), rtol=0, atol=1e-6)

    @THREATS
    @pytest.mark.parametrize("seed", range(5))
    def test_convex_loss_never_falls(self, threat: ThreatModel, seed: int, images: Tensor, labels: Tensor) -> None:
        weight = torch.randn(CLASSES, images[0].numel(), generator=seeded(seed))

        def softmax_regression(pixels: Tensor) -> Tensor:
            return pixels.flatten(1) @ weight.T

        attack = PGD(threat, num_steps=5, random_start=False)
        found = attack.attack(softmax_regression, images, labels)
        clean, attacked = (losses(softmax_regression, batch, labels) for batch in (images, found))
        assert (attacked >= clean).all()
        towards = PGD(threat, num_steps=5, random_start=False, targeted=True, keep="worst")
        found = towards.attack(softmax_regression, images, labels)
        assert (losses(softmax_regression, found, labels) < clean).all()


def numpy_pgd(
    weights: list[np.ndarray], images: np.ndarray, targets: np.ndarray, threat: ThreatModel, num_steps: int
) -> np.ndarray:
    """Madry et al. on softmax(W2 · tanh(W1 · x + b1) + b2) in float64, with the gradient by hand."""
    first, first_bias, second, second_bias = weights
    start = images.reshape(len(images), -1)
    current = start.copy()
    for _ in range(num_steps):
        hidden = np.tanh(current @ first.T + first_bias)
        exponentials = np.exp(hidden @ second.T + second_bias)
        probabilities = exponentials / exponentials.sum(1, keepdims=True)
        gradient = ((probabilities - targets) @ second * (1 - hidden**2)) @ first
        if threat.norm == "Linf":
            current = current + 2.5 * threat.epsilon / num_steps * np.sign(gradient)
            current = np.clip(current, start - threat.epsilon, start + threat.epsilon)
        else:
            unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
            current = current + 2.5 * threat.epsilon / num_steps * unit
            length = np.linalg.norm(current - start, axis=1, keepdims=True)
            current = start + (current - start) * np.minimum(1, threat.epsilon / length)
        current = np.clip(current, 0, 1)
    return current.reshape(images.shape)


class TestAgainstNumpy:
    @THREATS
    @pytest.mark.parametrize("kind", ["hard", "soft"])
    def test_two_layer_network(
        self, threat: ThreatModel, kind: str, images: Tensor, labels: Tensor, soft: Tensor
    ) -> None:
        generator = seeded(2)
        shapes = [(16, 48), (16,), (CLASSES, 16), (CLASSES,)]
        weights = [torch.randn(shape, generator=generator) / 4 for shape in shapes]

        def network(pixels: Tensor) -> Tensor:
            hidden = torch.tanh(functional.linear(pixels.flatten(1), weights[0], weights[1]))
            return functional.linear(hidden, weights[2], weights[3])

        found = PGD(threat, num_steps=7, random_start=False).attack(
            network, images, labels if kind == "hard" else soft
        )
        distribution = np.eye(CLASSES)[labels.numpy()] if kind == "hard" else soft.double().numpy()
        arrays = [tensor.double().numpy() for tensor in (*weights, images)]
        expected = numpy_pgd(arrays[:4], arrays[4], distribution, threat, num_steps=7)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)


class TestStepsAndStart:
    @THREATS
    def test_default_step_is_two_and_a_half_radii_over_the_steps(
        self, threat: ThreatModel, images: Tensor, labels: Tensor, model: Waves
    ) -> None:
        seen: list[Tensor] = []

        def watched(pixels: Tensor) -> Tensor:
            seen.append(pixels.detach().clone())
            return model(pixels)

        interior = 0.4 + 0.2 * images
        PGD(threat, num_steps=20, random_start=False).attack(watched, interior, labels)
        assert torch.equal(seen[0], interior)
        moved = threat.distance(seen[0], seen[1])
        torch.testing.assert_close(moved, torch.full_like(moved, 2.5 * threat.epsilon / 20), rtol=1e-5, atol=0)

    def test_given_step_size_is_taken(self, images: Tensor, labels: Tensor, model: Waves) -> None:
        interior = 0.4 + 0.2 * images
        found = PGD(LINF, num_steps=1, step_size=0.03, random_start=False).attack(model, interior, labels)
        torch.testing.assert_close((found - interior).abs(), torch.full(SHAPE, 0.03))

    @pytest.mark.parametrize(
        ("keep", "restarts", "calls"), [("last", 1, 4), ("worst", 1, 5), ("last", 3, 15), ("worst", 3, 15)]
    )
    def test_forward_calls(
        self, keep: Any, restarts: int, calls: int, images: Tensor, labels: Tensor, model: Waves
    ) -> None:
        count = 0

        def counted(pixels: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return model(pixels)

        PGD(LINF, num_steps=4, restarts=restarts, keep=keep).attack(counted, images, labels)
        assert count == calls

    @THREATS
    def test_generator_decides_and_advances(
        self, threat: ThreatModel, images: Tensor, labels: Tensor, model: Waves
    ) -> None:
        attack, generator = PGD(threat, num_steps=2), seeded(4)
        first, second = (attack.attack(model, images, labels, generator=generator) for _ in range(2))
        assert not torch.equal(first, second)
        assert torch.equal(first, attack.attack(model, images, labels, generator=seeded(4)))

    def test_generator_leaves_the_global_one_alone(self, images: Tensor, labels: Tensor, model: Waves) -> None:
        before = torch.get_rng_state()
        PGD(LINF, num_steps=1).attack(model, images, labels, generator=seeded())
        assert torch.equal(torch.get_rng_state(), before)


class TestTargets:
    @THREATS
    def test_one_hot_equals_hard_bit_for_bit(
        self, threat: ThreatModel, images: Tensor, labels: Tensor, model: Waves
    ) -> None:
        one_hot = functional.one_hot(labels, CLASSES).float()
        hard, as_soft = (PGD(threat).attack(model, images, target, generator=seeded()) for target in (labels, one_hot))
        assert torch.equal(hard, as_soft)

    def test_soft_targets_are_not_reduced_to_their_highest_class(self) -> None:
        # Each pixel is a logit, so that the gradient is softmax(x) − q: at x = (½, ½, ½) it is ⅓ − q.
        image = torch.full((1, 1, 1, 3), 0.5)
        attack = PGD(ThreatModel("Linf", 0.01), num_steps=1, random_start=False)
        found = attack.attack(lambda pixels: pixels.flatten(1), image, torch.tensor([[0.51, 0.49, 0.0]]))
        torch.testing.assert_close(found.flatten(), torch.tensor([0.49, 0.49, 0.51]))
        found = attack.attack(lambda pixels: pixels.flatten(1), image, torch.tensor([0]))
        torch.testing.assert_close(found.flatten(), torch.tensor([0.49, 0.51, 0.51]))


class TestKeepWorst:
    @pytest.mark.parametrize("keep", ["last", "worst"])
    def test_each_image_keeps_its_own_worst_restart(
        self, keep: Any, images: Tensor, soft: Tensor, model: Waves
    ) -> None:
        single, generator = PGD(LINF, num_steps=3, keep=keep), seeded(1)
        runs = [single.attack(model, images, soft, generator=generator) for _ in range(2)]
        second_is_worse = losses(model, runs[1], soft) > losses(model, runs[0], soft)
        assert len(set(second_is_worse.tolist())) == 2, "the case needs images whose worst restart differs"
        double = PGD(LINF, num_steps=3, restarts=2, keep=keep).attack(model, images, soft, generator=seeded(1))
        assert torch.equal(double, torch.where(second_is_worse[:, None, None, None], runs[1], runs[0]))

    @THREATS
    @pytest.mark.parametrize("keep", ["last", "worst"])
    def test_more_restarts_are_never_weaker(
        self, threat: ThreatModel, keep: Any, images: Tensor, labels: Tensor, model: Waves
    ) -> None:
        scores = []
        for restarts in (1, 2, 5):
            attack = PGD(threat, num_steps=3, restarts=restarts, keep=keep)
            found = attack.attack(model, images, labels, generator=seeded())
            wrong = model(found).argmax(1) != labels
            scores.append(list(zip(wrong.tolist(), losses(model, found, labels).tolist(), strict=True)))
        for fewer, more in itertools.pairwise(scores):
            assert all(after >= before for before, after in zip(fewer, more, strict=True))
        assert scores[0] != scores[-1]

    @pytest.mark.parametrize("seed", range(5))
    def test_misclassifies_at_least_what_the_last_iterate_does(self, seed: int, images: Tensor, model: Waves) -> None:
        labels = model(images).argmax(1)
        keeps: tuple[Any, ...] = ("last", "worst")
        wrong = {}
        for keep in keeps:
            attack = PGD(LINF, step_size=0.08, num_steps=5, keep=keep)
            found = attack.attack(model, images, labels, generator=seeded(seed))
            wrong[keep] = model(found).argmax(1) != labels
        assert (wrong["worst"] | ~wrong["last"]).all()

    @pytest.mark.parametrize("peak", [1.0, 1e4])
    def test_maximum_on_the_way_is_not_lost(self, peak: float) -> None:
        # Steps of 0.1 from 0.5 visit 0.6 and pass on to 0.7. With peak 1 only 0.6 is misclassified; with peak 1e4 all
        # three are, and 0.6 has the largest loss by a thousandth.
        def ridge(pixels: Tensor) -> Tensor:
            value = pixels.flatten()
            return torch.stack([torch.zeros_like(value), peak - 1000 * (value - 0.61) ** 2], 1)

        image, label = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
        keeps: dict[Any, float] = {"last": 0.7, "worst": 0.6}
        for keep, expected in keeps.items():
            attack = PGD(ThreatModel("Linf", 0.4), num_steps=2, step_size=0.1, random_start=False, keep=keep)
            assert attack.attack(ridge, image, label).item() == pytest.approx(expected)

    def test_success_outranks_loss_for_class_indices_only(self) -> None:
        # From 0.5 to 0.7 the probabilities go from (0.45, 0.55, 0), wrong, to (0.34, 0.33, 0.33): right, at more loss.
        def fading(pixels: Tensor) -> Tensor:
            share = (pixels.flatten() - 0.5) / 0.2
            return torch.stack([0.45 - 0.11 * share, 0.55 - 0.22 * share, 1e-6 + 0.33 * share], 1).log()

        image = torch.full((1, 1, 1, 1), 0.5)
        attack = PGD(ThreatModel("Linf", 0.2), num_steps=1, random_start=False, keep="worst")
        assert attack.attack(fading, image, torch.tensor([0])).item() == 0.5
        assert attack.attack(fading, image, torch.tensor([[1.0, 0.0, 0.0]])).item() == pytest.approx(0.7)
