"""Cross-entropy on soft targets: value, gradient, precision."""

import numpy as np
import torch

from adsr_hf.objectives import soft_cross_entropy


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
