"""Auto-PGD for training: Croce & Hein 2020 (arXiv 2003.01690), on hard or soft targets and for any number of steps.

Evaluation takes the authors' own code (:mod:`adsr_hf.attacks.autoattack.apgd`); training needs soft targets, a step
count as low as two (Singh et al. 2023, arXiv 2303.01870) and no package beside torch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adsr_hf.attacks.losses import cross_entropy
from adsr_hf.attacks.pgd import AttackResult, LogitsFunction, check_batch, check_logits, start_points, with_gradients
from adsr_hf.attacks.threat import RandomSource, ThreatModel

# Section 3.1: momentum, share of improving steps below which the step is halved, and the checkpoints' spacing.
_MOMENTUM = 0.75
_IMPROVING_SHARE = 0.75
_FIRST_PERIOD, _PERIOD_DECREASE, _SHORTEST_PERIOD = 0.22, 0.03, 0.06
# First step, in radii.
_FIRST_STEP = 2.0


@dataclass(frozen=True)
class AutoPGD:
    """Auto-PGD that returns the point of highest cross-entropy, with a step size of its own for each image.

    Args:
        threat: the allowed perturbations.
        num_steps: gradient steps, at least 1; ``num_steps`` + 1 forward passes.
        random_start: begin at a random point of the ball instead of the image itself.
        start_deviation: see :class:`adsr_hf.attacks.PGD`.
        restarts: independent runs, of which the worst is kept for each image; more than 1 needs ``random_start``.

    Raises:
        ValueError: when a field is outside what is allowed.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[1.0], [-1.0]])
        >>> def logits_fn(pixels):
        ...     return pixels.mean((1, 2, 3))[:, None] * weights.T
        >>> images, targets = torch.full((1, 1, 2, 2), 0.5), torch.tensor([[1.0, 0.0]])
        >>> attack = AutoPGD(ThreatModel.parse("Linf 0.1"), num_steps=2, random_start=False)
        >>> attack.attack(logits_fn, images, targets).unique()
        tensor([0.4000])
    """

    threat: ThreatModel
    num_steps: int = 2
    random_start: bool = True
    start_deviation: float | None = None
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps} must be at least 1")
        if self.restarts < 1:
            raise ValueError(f"restarts={self.restarts} must be at least 1")
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"restarts={self.restarts} needs random_start=True: without it every restart is the same")

    def attack(
        self, logits_fn: LogitsFunction, images: Tensor, targets: Tensor, *, generator: RandomSource = None
    ) -> Tensor:
        """Adversarial images, (B, C, H, W), float32, in [0, 1]; see :meth:`run`."""
        return self.run(logits_fn, images, targets, generator=generator).images

    def run(
        self, logits_fn: LogitsFunction, images: Tensor, targets: Tensor, *, generator: RandomSource = None
    ) -> AttackResult:
        """Attack a batch; arguments and errors are those of :meth:`adsr_hf.attacks.PGD.run`."""
        check_batch(images, targets)
        with with_gradients():
            images = images.detach().float().clone().clamp_(0, 1)
            targets = targets.detach().clone()
            found, score, zeros = self._one_restart(logits_fn, images, targets, generator)
            for _ in range(self.restarts - 1):
                other, other_score, other_zeros = self._one_restart(logits_fn, images, targets, generator)
                found = torch.where((other_score > score)[:, None, None, None], other, found)
                score, zeros = torch.maximum(score, other_score), zeros + other_zeros
        return AttackResult(images=found.detach(), zero_gradient_share=zeros / self.restarts)

    def _one_restart(
        self, logits_fn: LogitsFunction, images: Tensor, targets: Tensor, generator: RandomSource
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best point, its loss (B,), and the share of zero gradients."""
        current = start_points(self.threat, images, generator, self.random_start, self.start_deviation)
        previous = current
        loss, gradient, zeros = _loss_and_gradient(logits_fn, current, targets)
        zero_share = zeros / self.num_steps
        best, best_loss, best_gradient = current, loss, gradient
        # The authors' code counts the first step as an improvement, whatever the start's loss.
        loss_of_previous = torch.zeros_like(loss)
        control = _StepControl(len(images), self.num_steps, _FIRST_STEP * self.threat.epsilon, images.device)
        for step in range(self.num_steps):
            momentum = _MOMENTUM if step else 1.0
            moved = self.threat.project(images, current + control.scaled(self.threat.ascent_step(gradient, 1.0)))
            blended = current + momentum * (moved - current) + (1 - momentum) * (current - previous)
            previous, current = current, self.threat.project(images, blended)
            before = loss_of_previous
            if step == self.num_steps - 1:
                with torch.no_grad():
                    loss = _loss(logits_fn, current, targets)
            else:
                loss, gradient, zeros = _loss_and_gradient(logits_fn, current, targets)
                zero_share = zero_share + zeros / self.num_steps
            loss_of_previous = loss
            better = loss > best_loss
            rows = better[:, None, None, None]
            best, best_loss = torch.where(rows, current, best), torch.where(better, loss, best_loss)
            best_gradient = torch.where(rows, gradient, best_gradient)
            stuck = control.after_step(improved=loss > before, best_loss=best_loss)
            if stuck is not None:
                rows = stuck[:, None, None, None]
                current, gradient = torch.where(rows, best, current), torch.where(rows, best_gradient, gradient)
        return best, best_loss, zero_share


class _StepControl:
    """Halves an image's step at a checkpoint where too few steps improved, or nothing did since the last one."""

    def __init__(self, images: int, num_steps: int, first_step: float, device: torch.device) -> None:
        self.period = max(int(_FIRST_PERIOD * num_steps), 1)
        self.shortest = max(int(_SHORTEST_PERIOD * num_steps), 1)
        self.decrease = max(int(_PERIOD_DECREASE * num_steps), 1)
        self.sizes = torch.full((images,), first_step, device=device)
        self.improvements = torch.zeros(images, device=device)
        self.since_checkpoint = 0
        # No image can have been stuck since a checkpoint before the first.
        self.best_at_checkpoint = torch.zeros(images, device=device)
        self.halved_at_checkpoint = torch.ones(images, dtype=torch.bool, device=device)

    def scaled(self, directions: Tensor) -> Tensor:
        """Each image's direction times its step."""
        return self.sizes[:, None, None, None] * directions

    def after_step(self, *, improved: Tensor, best_loss: Tensor) -> Tensor | None:
        """Which images start again from their best point, (B,), bool; None between checkpoints."""
        self.improvements = self.improvements + improved
        self.since_checkpoint += 1
        if self.since_checkpoint < self.period:
            return None
        few = self.improvements <= _IMPROVING_SHARE * self.since_checkpoint
        unchanged = ~self.halved_at_checkpoint & (self.best_at_checkpoint >= best_loss)
        halved = few | unchanged
        self.halved_at_checkpoint, self.best_at_checkpoint = halved, best_loss
        self.sizes = torch.where(halved, self.sizes / 2, self.sizes)
        self.improvements, self.since_checkpoint = torch.zeros_like(self.improvements), 0
        self.period = max(self.period - self.decrease, self.shortest)
        return halved


def _loss(logits_fn: LogitsFunction, images: Tensor, targets: Tensor) -> Tensor:
    logits = logits_fn(images).float()
    if torch.is_grad_enabled():
        check_logits(logits, targets)
    return cross_entropy(logits, targets)


def _loss_and_gradient(logits_fn: LogitsFunction, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (B,), its gradient, and the share of entries that are exactly zero or NaN."""
    leaf = images.detach().requires_grad_(True)
    loss = _loss(logits_fn, leaf, targets)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach(), gradient, (~(gradient.abs() > 0)).float().mean()
