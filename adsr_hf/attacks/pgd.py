"""Projected gradient descent: Madry et al., *Towards Deep Learning Models Resistant to Adversarial Attacks* (2018)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adsr_hf.attacks.losses import ATTACK_LOSSES
from adsr_hf.attacks.threat import RandomSource, ThreatModel
from adsr_hf.networks.pixels import PIXEL_TOLERANCE

LogitsFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AttackResult:
    """What one attack found.

    Attributes:
        images: (B, C, H, W), float32, in [0, 1].
        zero_gradient_share: scalar tensor in [0, 1]: share of input-gradient entries that were exactly zero or NaN,
            over all steps. The sign of either is 0 and moves nothing, so a high share means that the attack was blind.

    Example:
        >>> import torch
        >>> result = AttackResult(images=torch.zeros(1, 3, 2, 2), zero_gradient_share=torch.tensor(0.0))
        >>> result.images.shape
        torch.Size([1, 3, 2, 2])
    """

    images: Tensor
    zero_gradient_share: Tensor


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent on a loss inside a threat model, for hard or soft targets.

    Equation 1: x_{t+1} = project(x_t + step_size · ascent(∇_x loss(f(x_t), target))), ascent being the gradient's sign
    for Linf and its unit vector for L2. The arithmetic on images is float32 whatever the model computes in.

    Args:
        threat: the allowed perturbations.
        num_steps: gradient steps, at least 1.
        step_size: length of one step in [0, 1] pixel units; ``None`` means 2.5 · epsilon / num_steps.
        random_start: begin at a uniform point of the ball instead of the image itself.
        start_deviation: where given, random starts are the image plus Gaussian noise of this standard deviation in
            [0, 1] pixel units (0.001 in TRADES), inside the ball, instead of uniform points.
        restarts: independent runs, of which the worst is kept for each image; more than 1 needs ``random_start``.
        loss: ``"cross_entropy"``, or ``"margin"`` (class indices only).
        targeted: descend towards ``targets`` instead of away from them.
        keep: ``"last"`` returns the last iterate of the worst restart, as training does; ``"worst"`` the worst of all
            iterates, as evaluation should: with class indices a misclassified iterate is worse than any other.

    Raises:
        ValueError: when a field is outside what is allowed.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[1.0], [-1.0]])
        >>> def logits_fn(pixels):
        ...     return pixels.mean((1, 2, 3))[:, None] * weights.T
        >>> images, labels = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
        >>> attack = PGD(ThreatModel.parse("Linf 0.1"), num_steps=3, random_start=False)
        >>> attack.attack(logits_fn, images, labels).unique()
        tensor([0.4000])
    """

    threat: ThreatModel
    num_steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    start_deviation: float | None = None
    restarts: int = 1
    loss: str = "cross_entropy"
    targeted: bool = False
    keep: Literal["last", "worst"] = "last"

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps} must be at least 1")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise ValueError(
                f"step_size={self.step_size} must be positive and finite; leave it out for 2.5 * epsilon / num_steps"
            )
        if self.restarts < 1:
            raise ValueError(f"restarts={self.restarts} must be at least 1")
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"restarts={self.restarts} needs random_start=True: without it every restart is the same")
        if self.start_deviation is not None and not (self.random_start and 0 < self.start_deviation < math.inf):
            raise ValueError(
                f"start_deviation={self.start_deviation} must be positive and finite, and needs random_start=True"
            )
        if self.loss not in ATTACK_LOSSES:
            raise ValueError(f"loss={self.loss!r} is unknown; choose one of {', '.join(ATTACK_LOSSES)}")
        if self.keep not in ("last", "worst"):
            raise ValueError(f"keep={self.keep!r} is unknown; choose 'last' or 'worst'")

    @property
    def resolved_step_size(self) -> float:
        """The step that is taken: as given, or 2.5 · epsilon / num_steps (Madry et al., section 5)."""
        return self.step_size if self.step_size is not None else 2.5 * self.threat.epsilon / self.num_steps

    def attack(
        self,
        logits_fn: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        *,
        generator: RandomSource = None,
    ) -> Tensor:
        """Adversarial images, (B, C, H, W), float32, in [0, 1]; see :meth:`run`."""
        return self.run(logits_fn, images, targets, generator=generator).images

    def run(
        self,
        logits_fn: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        *,
        generator: RandomSource = None,
    ) -> AttackResult:
        """Attack a batch. No parameter's gradient is touched: only the input's is computed.

        Args:
            logits_fn: maps (B, C, H, W) float32 pixels in [0, 1] to (B, K) logits of any float dtype.
            images: (B, C, H, W), float, in [0, 1].
            targets: (B,) int64 class indices, or (B, K) float probabilities.
            generator: source of the random starts, one for the batch or one for each image; torch's global one when
                left out.

        Raises:
            ValueError: when images leave [0, 1] by more than 1e-3, a class index is negative, shapes or dtypes do not
                fit, or the logits carry no gradient.
        """
        check_batch(images, targets)
        with with_gradients():
            images = images.detach().float().clone().clamp_(0, 1)
            targets = targets.detach().clone()
            worst: Tensor | None = None
            worst_score: Tensor | None = None
            zero_share = torch.zeros((), device=images.device)
            for _ in range(self.restarts):
                found, score, zeros = self._one_restart(logits_fn, images, targets, generator)
                zero_share = zero_share + zeros / self.restarts
                if worst is None or worst_score is None or score is None:
                    worst, worst_score = found, score
                else:
                    worst, worst_score = _keep_worse(worst, worst_score, found, score)
        assert worst is not None
        return AttackResult(images=worst.detach(), zero_gradient_share=zero_share)

    def _one_restart(
        self, logits_fn: LogitsFunction, images: Tensor, targets: Tensor, generator: RandomSource
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """One run: images, their score (B, 2) where a later choice needs it, and the share of zero gradients."""
        current = start_points(self.threat, images, generator, self.random_start, self.start_deviation)
        best, best_score = current, torch.full((len(images), 2), -torch.inf, device=images.device)
        zero_share = torch.zeros((), device=images.device)
        for _ in range(self.num_steps):
            current = current.detach().requires_grad_(True)
            logits = logits_fn(current).float()
            check_logits(logits, targets)
            loss = self._objective(logits, targets)
            (gradient,) = torch.autograd.grad(loss.sum(), current)
            current = current.detach()
            zero_share = zero_share + (~(gradient.abs() > 0)).float().mean() / self.num_steps
            if self.keep == "worst":
                best, best_score = _keep_worse(best, best_score, current, self._score(logits, loss, targets))
            step = self.threat.ascent_step(gradient, self.resolved_step_size)
            current = self.threat.project(images, current + step)
        if self.keep == "last" and self.restarts == 1:
            return current, None, zero_share
        with torch.no_grad():
            logits = logits_fn(current).float()
            score = self._score(logits, self._objective(logits, targets), targets)
        if self.keep == "last":
            return current, score, zero_share
        best, best_score = _keep_worse(best, best_score, current, score)
        return best, best_score, zero_share

    def _objective(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = ATTACK_LOSSES[self.loss](logits, targets)
        return -loss if self.targeted else loss

    def _score(self, logits: Tensor, objective: Tensor, targets: Tensor) -> Tensor:
        """What decides which of two iterates is worse, shape (B, 2): success first, and the objective second.

        Soft targets have no success: their objective decides alone.
        """
        objective = objective.detach()
        if targets.ndim == 2:
            success = torch.zeros_like(objective)
        else:
            success = ((logits.detach().argmax(1) == targets) == self.targeted).to(objective.dtype)
        return torch.stack([success, objective], dim=1)


@contextmanager
def with_gradients() -> Iterator[None]:
    """Compute gradients, whatever the caller switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def start_points(
    threat: ThreatModel, images: Tensor, generator: RandomSource, random_start: bool, deviation: float | None
) -> Tensor:
    """Where a run begins, (B, C, H, W): at the images, near them, or at uniform points of the ball; see PGD."""
    if not random_start:
        return images.clone()
    return threat.sample(images, generator) if deviation is None else threat.sample_near(images, deviation, generator)


def _keep_worse(best: Tensor, best_score: Tensor, current: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """For each image the one of higher success, and of higher objective where both succeed or both fail."""
    (best_success, best_objective), (success, objective) = best_score.unbind(1), score.unbind(1)
    worse = (success > best_success) | ((success == best_success) & (objective > best_objective))
    return torch.where(worse[:, None, None, None], current, best), torch.where(worse[:, None], score, best_score)


def check_batch(images: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless the images are pixels and the targets fit them."""
    if images.ndim != 4 or not images.numel():
        raise ValueError(f"images must have shape (B, C, H, W) and at least one pixel, got {tuple(images.shape)}")
    if targets.ndim not in (1, 2) or len(targets) != len(images):
        raise ValueError(
            f"targets must be (B,) class indices or (B, K) probabilities for B={len(images)} images, "
            f"got shape {tuple(targets.shape)}"
        )
    if targets.ndim == 2 and not targets.is_floating_point():
        raise ValueError(f"targets of shape {tuple(targets.shape)} must be float probabilities, got {targets.dtype}")
    if targets.ndim == 1 and targets.dtype != torch.int64:
        raise ValueError(f"targets of shape {tuple(targets.shape)} must be int64 class indices, got {targets.dtype}")
    # One transfer for all three numbers: each would make the host wait for the accelerator.
    low, high, lowest_target = torch.stack([*torch.aminmax(images.float()), targets.min().float()]).tolist()
    if lowest_target < 0:
        raise ValueError(
            f"targets must not be negative, got {lowest_target:g}; leave unlabelled images (-100) out of the batch"
        )
    if not (low >= -PIXEL_TOLERANCE and high <= 1 + PIXEL_TOLERANCE):
        raise ValueError(
            f"images must be pixels in [0, 1], got values from {low:.3f} to {high:.3f}; "
            "attack pixels, and normalise them inside logits_fn"
        )


def check_logits(logits: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless the logits fit the targets and carry a gradient."""
    fits = logits.shape == targets.shape if targets.ndim == 2 else logits.shape[:-1] == targets.shape
    if not fits:
        raise ValueError(
            f"logits_fn must return logits of shape (B, K) that fit targets of shape {tuple(targets.shape)}, "
            f"got {tuple(logits.shape)}"
        )
    if not logits.requires_grad:
        raise ValueError("logits_fn returned logits without a gradient; do not detach or use torch.no_grad inside it")
