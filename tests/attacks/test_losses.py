"""Attack losses: one number for each image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adsr_hf.attacks import ATTACK_LOSSES

cross_entropy, margin = ATTACK_LOSSES["cross_entropy"], ATTACK_LOSSES["margin"]


def log_softmax_float64(logits: torch.Tensor) -> np.ndarray:
    shifted = logits.double().numpy() - logits.double().numpy().max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 4


class TestCrossEntropy:
    def test_hard_targets_equal_float64(self, logits: torch.Tensor) -> None:
        targets = torch.arange(7) % 5
        expected = -log_softmax_float64(logits)[np.arange(7), targets.numpy()]
        np.testing.assert_allclose(cross_entropy(logits, targets).numpy(), expected, rtol=1e-5)

    def test_soft_targets_equal_float64(self, logits: torch.Tensor) -> None:
        targets = torch.softmax(torch.randn(7, 5, generator=torch.Generator().manual_seed(1)), 1)
        expected = -(targets.double().numpy() * log_softmax_float64(logits)).sum(1)
        np.testing.assert_allclose(cross_entropy(logits, targets).numpy(), expected, rtol=1e-5)

    def test_one_hot_equals_hard_bit_for_bit(self, logits: torch.Tensor) -> None:
        targets = torch.arange(7) % 5
        one_hot = torch.nn.functional.one_hot(targets, 5).float()
        assert torch.equal(cross_entropy(logits, targets), cross_entropy(logits, one_hot))


class TestMargin:
    def test_by_hand(self) -> None:
        logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [-9.0, -3.0, -5.0]])
        assert margin(logits, torch.tensor([0, 1, 2, 1])).tolist() == [3.0, -2.0, 2.0, -2.0]

    @settings(deadline=None)
    @given(
        rows=st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4, unique=True), min_size=1),
        label=st.integers(0, 3),
    )
    def test_positive_exactly_where_misclassified(self, rows: list[list[float]], label: int) -> None:
        logits, targets = torch.tensor(rows), torch.full((len(rows),), label)
        assert torch.equal(margin(logits, targets) > 0, logits.argmax(1) != targets)

    def test_gradient_raises_the_strongest_wrong_class_only(self) -> None:
        logits = torch.tensor([[1.0, 4.0, 2.0]], requires_grad=True)
        (gradient,) = torch.autograd.grad(margin(logits, torch.tensor([1])).sum(), logits)
        assert gradient.tolist() == [[0.0, -1.0, 1.0]]

    def test_soft_targets_are_refused(self, logits: torch.Tensor) -> None:
        with pytest.raises(ValueError, match=r"loss='margin' needs class indices of shape \(B,\), got .*\(7, 5\)"):
            margin(logits, torch.full((7, 5), 0.2))
