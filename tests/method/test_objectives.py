"""Cross-entropy on soft targets: value, gradient, precision."""

import numpy as np
import pytest
import torch

from adsr_hf.method.objectives import Objective, divergence, mart, soft_cross_entropy, trades


def random_case(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64) * 4
    targets = torch.softmax(torch.randn(6, 5, generator=generator, dtype=torch.float64), 1)
    return logits.to(dtype), targets.float()


def test_by_hand() -> None:
    """Logits (log 3, 0) are probabilities (¾, ¼); target (½, ½)."""
    logits, targets = torch.tensor([[np.log(3.0), 0.0]]), torch.tensor([[0.5, 0.5]])
    expected = -0.5 * np.log(0.75) - 0.5 * np.log(0.25)
    torch.testing.assert_close(soft_cross_entropy(logits, targets).item(), expected, rtol=1e-6, atol=0)


def test_value_is_the_mean_over_images_in_float64() -> None:
    logits, targets = random_case(torch.float32)
    numbers = logits.double().numpy()
    log_probabilities = numbers - np.log(np.exp(numbers).sum(1, keepdims=True))
    expected = -(targets.double().numpy() * log_probabilities).sum(1).mean()
    np.testing.assert_allclose(soft_cross_entropy(logits, targets).item(), expected, rtol=1e-6)


def test_gradient_is_softmax_minus_target() -> None:
    logits, targets = random_case(torch.float32)
    logits.requires_grad_(True)
    soft_cross_entropy(logits, targets).backward()
    torch.testing.assert_close(logits.grad, (torch.softmax(logits.detach(), 1) - targets) / len(logits))


def test_targets_carry_no_gradient() -> None:
    logits, targets = random_case(torch.float32)
    targets.requires_grad_(True)
    soft_cross_entropy(logits.requires_grad_(True), targets).backward()
    assert targets.grad is None


def test_bfloat16_logits_are_computed_in_float32() -> None:
    logits, targets = random_case(torch.bfloat16)
    loss = soft_cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, soft_cross_entropy(logits.float(), targets))


def test_float64_logits_keep_their_precision() -> None:
    logits, targets = random_case(torch.float64)
    assert soft_cross_entropy(logits, targets).dtype == torch.float64


LOG3 = float(np.log(3.0))


def test_divergence_by_hand() -> None:
    """KL((¾, ¼) ‖ (½, ½)) = ¾ log 1.5 + ¼ log 0.5, and nothing between equals."""
    clean, other = torch.tensor([[LOG3, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    expected = [0.75 * np.log(1.5) + 0.25 * np.log(0.5), 0.0]
    np.testing.assert_allclose(divergence(clean, other).numpy(), expected, atol=1e-7)


def test_trades_by_hand() -> None:
    """One-hot target, p = (¾, ¼), p' = (½, ½), β = 2."""
    clean, attacked = torch.tensor([[LOG3, 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = -np.log(0.75) + 2 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    found = trades(clean, attacked, torch.tensor([[1.0, 0.0]]), beta=2.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_mart_by_hand() -> None:
    """y = 0, p = (¾, ¼), p' = (¼, ¾), β = 2: −log ¼ − log(1 − ¾) + 2 · KL · ¼."""
    clean, attacked = torch.tensor([[LOG3, 0.0]]), torch.tensor([[0.0, LOG3]])
    kl = 0.75 * np.log(3) + 0.25 * np.log(1 / 3)
    found = mart(clean, attacked, torch.tensor([[1.0, 0.0]]), torch.tensor([0]), beta=2.0)
    assert found.item() == pytest.approx(-2 * np.log(0.25) + 2 * kl * 0.25, rel=1e-6)


def test_mart_stays_finite_where_a_probability_rounds_to_one() -> None:
    attacked = torch.tensor([[0.0, 200.0, -5.0]], requires_grad=True)
    loss = mart(torch.zeros(1, 3), attacked, torch.eye(3)[:1], torch.tensor([0]), beta=5.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(attacked.grad).all()
    # −log p_y = 200, and −log(1 − p_1) = 200 too.
    assert loss.item() > 399


@pytest.mark.parametrize("name", ["trades", "mart"])
def test_comparing_objectives_take_both_halves_in_order(name: str) -> None:
    clean, targets = random_case(torch.float32)
    attacked, labels = clean.flip(0) / 2, targets.argmax(1)
    found = Objective(name, beta=3.0).loss(torch.cat([clean, attacked]), targets, labels)
    of_name = {
        "trades": lambda: trades(clean, attacked, targets, beta=3.0),
        "mart": lambda: mart(clean, attacked, targets, labels, beta=3.0),
    }
    assert torch.equal(found, of_name[name]())
