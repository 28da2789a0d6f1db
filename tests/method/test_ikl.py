"""The improved Kullback-Leibler divergence against its equations in plain float64, and the means that weigh it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adsr_hf.method.ikl import ClassMeans, improved_divergence, squared_error
from adsr_hf.method.objectives import Objective, divergence, ikl, soft_cross_entropy

ALPHA, BETA = 20.0, 4.0


def case(dtype: torch.dtype = torch.float64, *, images: int = 3, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Clean logits, attacked ones, and weights that are neither even nor the images' own predictions."""
    generator = torch.Generator().manual_seed(0)
    clean, noise, weights = (torch.randn(images, classes, generator=generator, dtype=torch.float64) for _ in range(3))
    return (2 * clean).to(dtype), (2 * clean + noise).to(dtype), weights.softmax(1)


def probabilities(logits: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in logits)
    return [math.exp(value) / total for value in logits]


def by_definition(clean: list[float], attacked: list[float], weights: list[float], constant: list[float]) -> float:
    """α/4 Σ_jk w_j w_k (Δm − Δn)²_jk − β Σ_j S(s_j) log r_j of one image, with S(s) given; pair by pair."""
    error = 0.0
    for j in range(len(clean)):
        for k in range(len(clean)):
            error += weights[j] * weights[k] * ((clean[j] - clean[k]) - (attacked[j] - attacked[k])) ** 2
    cross_entropy = -sum(s * math.log(r) for s, r in zip(constant, probabilities(attacked), strict=True))
    return ALPHA / 4 * error + BETA * cross_entropy


def finite_differences(clean: list[float], attacked: list[float], weights: list[float], which: int) -> list[float]:
    """Central ones, of :func:`by_definition` in the clean logits (0) or the attacked ones (1)."""
    constant, step, found = probabilities(clean), 1e-5, []
    for index in range(len(clean)):
        values = []
        for moved in (step, -step):
            logits = [list(clean), list(attacked)]
            logits[which][index] += moved
            values.append(by_definition(logits[0], logits[1], weights, constant))
        found.append((values[0] - values[1]) / (2 * step))
    return found


def gradients(loss: Tensor, *logits: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss.sum(), logits, allow_unused=True, materialize_grads=True)


class TestDivergence:
    def test_value_is_that_of_the_equation(self) -> None:
        clean, attacked, weights = case()
        expected = [
            by_definition(m, n, w, probabilities(m))
            for m, n, w in zip(clean.tolist(), attacked.tolist(), weights.tolist(), strict=True)
        ]
        found = improved_divergence(clean, attacked, weights, alpha=ALPHA, beta=BETA)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)

    @pytest.mark.parametrize("which", [0, 1])
    def test_gradients_are_those_of_the_equation(self, which: int) -> None:
        clean, attacked, weights = case()
        both = (clean.requires_grad_(True), attacked.requires_grad_(True))
        found = gradients(improved_divergence(*both, weights, alpha=ALPHA, beta=BETA), *both)[which]
        for row, m, n, w in zip(found, clean.tolist(), attacked.tolist(), weights.tolist(), strict=True):
            np.testing.assert_allclose(row.numpy(), finite_differences(m, n, w, which), rtol=1e-6, atol=1e-8)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**31 - 1), st.integers(2, 6), st.floats(0.1, 5))
    def test_decoupled_divergence_has_the_gradients_of_kl(self, seed: int, classes: int, scale: float) -> None:
        """The paper's theorem: image-wise weights, α = β = 1, and its stop-gradients."""
        generator = torch.Generator().manual_seed(seed)
        clean, attacked = (
            (scale * torch.randn(5, classes, generator=generator, dtype=torch.float64)).requires_grad_(True)
            for _ in range(2)
        )
        own = clean.softmax(1).detach()
        cross_entropy = -(own * attacked.log_softmax(1)).sum(1)
        decoupled = squared_error(clean, attacked.detach(), own) + cross_entropy
        coupled = divergence(clean, attacked)
        for found, expected in zip(
            gradients(decoupled, clean, attacked), gradients(coupled, clean, attacked), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)

    def test_its_squared_error_teaches_both_outputs(self) -> None:
        """In KL the squared error moves the clean logits alone; here attacked ones get the opposite gradient."""
        clean, attacked, weights = case()
        both = (clean.requires_grad_(True), attacked.requires_grad_(True))
        of_clean, of_attacked = gradients(improved_divergence(*both, weights, alpha=1.0, beta=0.0), *both)
        assert of_clean.abs().min() > 0
        torch.testing.assert_close(of_attacked, -of_clean)
        stopped = gradients(squared_error(clean, attacked.detach(), weights), *both)
        torch.testing.assert_close(stopped, (of_clean, torch.zeros_like(of_clean)))

    def test_its_cross_entropy_teaches_the_attacked_output_alone(self) -> None:
        clean, attacked, weights = case()
        both = (clean.requires_grad_(True), attacked.requires_grad_(True))
        of_clean, of_attacked = gradients(improved_divergence(*both, weights, alpha=0.0, beta=1.0), *both)
        assert torch.equal(of_clean, torch.zeros_like(clean))
        torch.testing.assert_close(of_attacked, (attacked.softmax(1) - clean.softmax(1)).detach())

    def test_weights_carry_no_gradient_and_decide(self) -> None:
        clean, attacked, weights = case()
        weights.requires_grad_(True)
        loss = improved_divergence(clean.requires_grad_(True), attacked, weights, alpha=1.0, beta=1.0)
        assert torch.equal(gradients(loss, weights)[0], torch.zeros_like(weights))
        # All weight on one class: no pair of different classes is left.
        one = torch.eye(4, dtype=torch.float64)[:3]
        assert torch.equal(squared_error(clean, attacked, one), torch.zeros(3, dtype=torch.float64))

    def test_bfloat16_logits_are_computed_in_float32(self) -> None:
        clean, attacked, weights = case(torch.bfloat16)
        found = improved_divergence(clean, attacked, weights, alpha=ALPHA, beta=BETA)
        assert found.dtype == torch.float32
        wide = improved_divergence(clean.float(), attacked.float(), weights, alpha=ALPHA, beta=BETA)
        assert torch.equal(found, wide)

    def test_logits_far_from_zero_lose_nothing(self) -> None:
        """Differences of logits alone count: centred before they are squared."""
        clean, attacked, weights = (values.float() for values in case())
        shifted = squared_error(clean + 4096, attacked, weights)
        torch.testing.assert_close(shifted, squared_error(clean, attacked, weights), rtol=2e-2, atol=1e-4)


class TestObjective:
    def test_it_adds_the_cross_entropy_on_clean_images(self) -> None:
        clean, attacked, weights = case(torch.float32)
        targets, labels = clean.flip(1).softmax(1), torch.tensor([0, 1, 2])
        expected = soft_cross_entropy(clean, targets)
        expected = expected + improved_divergence(clean, attacked, weights, alpha=2.0, beta=3.0).mean()
        assert torch.equal(ikl(clean, attacked, targets, weights, alpha=2.0, beta=3.0), expected)
        objective = Objective("ikl", beta=3.0, alpha=2.0)
        assert objective.compares
        found = objective.loss(torch.cat([clean, attacked]), targets, labels, class_weights=weights)
        assert torch.equal(found, expected)

    def test_without_weights_it_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"class_weights=None: objective='ikl' needs the weights"):
            Objective("ikl").loss(torch.zeros(2, 3), torch.eye(3)[:1], torch.tensor([0]))


class TestClassMeans:
    def test_by_hand(self) -> None:
        """Logits (log 9, 0) at temperature 2 are probabilities (¾, ¼)."""
        means = ClassMeans(2, temperature=2.0)
        means.begin_epoch(0)
        means.add(torch.tensor([[math.log(9), 0.0], [0.0, 0.0], [0.0, math.log(9)]]), torch.tensor([0, 0, 1]))
        even = torch.tensor([[0.5, 0.5]] * 2)
        torch.testing.assert_close(means.of(torch.tensor([0, 1])), even)
        means.begin_epoch(0)
        torch.testing.assert_close(means.of(torch.tensor([0, 1])), even)
        means.begin_epoch(1)
        expected = torch.tensor([[0.25, 0.75], [0.625, 0.375], [0.625, 0.375]])
        torch.testing.assert_close(means.of(torch.tensor([1, 0, 0])), expected)

    def test_an_epoch_counts_its_own_images_alone(self) -> None:
        means = ClassMeans(2, temperature=1.0)
        means.add(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 1]))
        means.begin_epoch(1)
        means.add(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        of_second_class = means.means[1].clone()
        means.begin_epoch(2)
        torch.testing.assert_close(means.means[0].float(), torch.tensor([0.5, 0.5]))
        # The second epoch met no image of the second class.
        assert torch.equal(means.means[1], of_second_class)

    @pytest.mark.parametrize("sizes", [(8,), (4, 4), (3, 5), (1,) * 8])
    def test_micro_batches_and_processes_make_no_difference(self, sizes: tuple[int, ...]) -> None:
        logits, labels = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
        whole, parts, added = ClassMeans(3, temperature=4.0), ClassMeans(3, temperature=4.0), []
        whole.add(logits, labels)
        for some, theirs in zip(logits.split(list(sizes)), labels.split(list(sizes)), strict=True):
            parts.add(some, theirs)
            ClassMeans(3, temperature=4.0).add(some, theirs, total=lambda sums: added.append(sums) or sums)
        together = ClassMeans(3, temperature=4.0)
        together.add(logits[:1], labels[:1], total=lambda _: torch.stack(added).sum(0))
        for means in (whole, parts, together):
            means.begin_epoch(1)
        for means in (parts, together):
            torch.testing.assert_close(means.means, whole.means, rtol=1e-14, atol=0)
        torch.testing.assert_close(whole.means.sum(1), torch.ones(3, dtype=torch.float64))

    def test_state_comes_back_bit_for_bit(self) -> None:
        logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
        means = ClassMeans(3, temperature=4.0)
        means.begin_epoch(4)
        means.add(logits[:3], labels[:3])
        state = {name: value.clone() for name, value in means.state_dict().items()}
        again = ClassMeans(3, temperature=4.0)
        again.load_state_dict(state)
        for one in (means, again):
            one.begin_epoch(4)
            one.add(logits[3:], labels[3:])
            one.begin_epoch(5)
        assert torch.equal(again.means, means.means)
        assert not torch.equal(again.means, ClassMeans(3, temperature=4.0).means)
        # What was loaded stays the caller's.
        assert all(torch.equal(state[name], value) for name, value in state.items())
