"""One training step written again from method.md, section 1: float64 throughout, nothing of adsr_hf in it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """What a reference step found; gradients by parameter name."""

    adversarial: Tensor
    targets: Tensor
    loss: float
    gradients: dict[str, Tensor]


def log_softmax(logits: Tensor) -> Tensor:
    shifted = logits - logits.max(dim=1, keepdim=True).values
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def cross_entropies(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * log_softmax(logits)).sum(dim=1)


def half_cosine(start: float, end: float, step: int, total: int) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * step / total)) / 2


def rectified(teacher_logits: Tensor, labels: Tensor, temperature: float, interpolation: float) -> Tensor:
    targets = []
    for logits, label in zip(teacher_logits / temperature, labels.tolist(), strict=True):
        probabilities = log_softmax(logits[None])[0].exp()
        weight = min(max(interpolation - float(probabilities.max() - probabilities[label]), 0.0), 1.0)
        one_hot = torch.zeros_like(probabilities)
        one_hot[label] = 1
        targets.append(weight * probabilities + (1 - weight) * one_hot)
    return torch.stack(targets)


def pgd(
    logits_fn: Logits, images: Tensor, targets: Tensor, *, norm: str, epsilon: float, steps: int, step_size: float
) -> Tensor:
    """From the image itself; every image attacked alone, so that nothing can leak between the images of a batch."""
    attacked = []
    for image, target in zip(images, targets, strict=True):
        current = image.clone()
        for _ in range(steps):
            point = current.clone().requires_grad_(True)
            loss = cross_entropies(logits_fn(point[None]), target[None]).sum()
            (gradient,) = torch.autograd.grad(loss, point)
            if norm == "Linf":
                moved = current + step_size * gradient.sign()
                moved = image + (moved - image).clamp(-epsilon, epsilon)
            else:
                moved = current + step_size * gradient / gradient.square().sum().sqrt()
                length = (moved - image).square().sum().sqrt()
                moved = image + (moved - image) * min(1.0, epsilon / float(length))
            current = moved.clamp(0, 1).detach()
        attacked.append(current)
    return torch.stack(attacked)


def loss_and_gradients(model: nn.Module, pixel_values: Tensor, targets: Tensor) -> tuple[float, dict[str, Tensor]]:
    """Mean cross-entropy and the gradients of every parameter of a float64 model."""
    model.zero_grad(set_to_none=True)
    loss = cross_entropies(model(pixel_values=pixel_values).logits, targets).mean()
    loss.backward()
    return loss.item(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def ikl_loss(
    student: nn.Module, images: Tensor, labels: Tensor, targets: Tensor, weights: Tensor, alpha: float, beta: float
) -> Tensor:
    """CE(f(x), q) + α/4 Σ_jk w_j w_k (Δm − Δn)²_jk − β Σ_j S(s_j) log r_j, image by image and pair by pair.

    Cui et al., NeurIPS 2024. ``images`` are clean ones, then attacked ones; row y of ``weights`` is that of class y.
    """
    losses = []
    for x, attacked, y, q in zip(*images.chunk(2), labels.tolist(), targets, strict=True):
        m, n = (student(pixel_values=image[None]).logits[0] for image in (x, attacked))
        log_s, log_r = (log_softmax(logits[None])[0] for logits in (m, n))
        pairs = [
            weights[y, j] * weights[y, k] * ((m[j] - m[k]) - (n[j] - n[k])) ** 2
            for j in range(len(m))
            for k in range(len(m))
        ]
        cross_entropy = -(log_s.exp().detach() * log_r).sum()
        losses.append(-(q * log_s).sum() + alpha / 4 * torch.stack(pairs).sum() + beta * cross_entropy)
    return torch.stack(losses).mean()
