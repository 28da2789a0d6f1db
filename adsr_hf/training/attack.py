"""The attack on training images: its strength along the run, the network it attacks, and the guard that watches it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers.utils import logging

from adsr_hf.attacks import PGD, AutoPGD
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.config import ADSRConfig
from adsr_hf.method.collapse_guard import CollapseGuard
from adsr_hf.method.schedules import hinge
from adsr_hf.networks.classifier import pixels_to_logits
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.training.compilation import CompiledNetworks
from adsr_hf.training.low_precision import BFloat16Copy
from adsr_hf.training.position import RunPosition

logger = logging.get_logger(__name__)

_GUARD_STEPS = 10


class TrainingAttack:
    """Attacks batches as the settings and the point of the run say. No parameter and no gradient is touched.

    Attributes:
        generator: of random starts and of mixing; part of a checkpoint, each process its own.
        guard: remembers how single-step training fares against PGD; the same in every process.

    Args:
        args: the run's settings.
        pixel_space: how the network's inputs are normalised.
        num_classes: K.
        accelerator: averages what the guard sees over processes.
        compiled: holds the attacked network's compiled version.
    """

    def __init__(
        self,
        args: ADSRConfig,
        *,
        pixel_space: PixelSpace,
        num_classes: int,
        accelerator: Accelerator,
        compiled: CompiledNetworks,
    ) -> None:
        self._args, self._pixel_space, self._num_classes = args, pixel_space, num_classes
        self._accelerator, self._compiled = accelerator, compiled
        self.generator = torch.Generator(args.device)
        self.guard = CollapseGuard()
        self._copy: BFloat16Copy | None = None
        self._forget()

    def begin(self, model: nn.Module) -> None:
        """Start anew, with the bare model as it now is."""
        self._forget()
        wants_copy = self._args.attacks and self._args.attack_precision == "bf16"
        self._copy = BFloat16Copy(model) if wants_copy else None

    def _forget(self) -> None:
        self.generator.manual_seed(self._args.seed + self._args.process_index)
        self.guard.reset()
        self._guarded_at_step = self._copied_at_step = -1

    def mixing_generator(self) -> np.random.Generator:
        """Seeded from :attr:`generator`, so that what a checkpoint holds says how images are mixed."""
        seed = torch.randint(2**62, (1,), generator=self.generator, device=self.generator.device)
        return np.random.default_rng(int(seed))

    def state_dict(self) -> dict[str, Tensor]:
        """What this process alone knows: where its random numbers stand."""
        return {"attack_generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`."""
        self.generator.set_state(state["attack_generator"])

    # ---- its strength --------------------------------------------------------------------------------------------

    def at(self, position: RunPosition) -> PGD | AutoPGD:
        """The attack at a point of the run: scheduled, ramped, and with two steps after a collapse where asked."""
        args = self._args
        ramp_steps = args.epsilon_ramp_epochs * position.steps_per_epoch
        if args.has_hinge:
            ramp_steps = args.epsilon_ramp_share * position.schedule_steps
        zero_steps = args.epsilon_zero_share * position.schedule_steps
        ramp = hinge(args.epsilon_ramp, step=position.step, zero_steps=zero_steps, ramp_steps=ramp_steps)
        switched = args.collapse_guard == "two_steps" and self.guard.collapsed
        return args.attack_at(position.epochs, ramp=ramp, least_steps=2 if switched else 1)

    def schedules_by_length(self) -> list[str]:
        """What of it depends on the length of the run."""
        args = self._args
        shares = ("epsilon_zero_share", "epsilon_ramp_share")
        return [name for name in shares if args.attacks and getattr(args, name) > 0]

    def schedules_in_epochs(self) -> list[str]:
        """Settings in use that are counted in epochs."""
        args = self._args
        warms_up = args.weight_perturbation != "none" and args.weight_perturbation_warmup_epochs > 0
        in_epochs = {
            "epsilon_ramp_epochs": args.attacks and args.epsilon_ramp_epochs > 0,
            "attack_schedule": args.attacks and bool(args.attack_schedule),
            "weight_perturbation_warmup_epochs": warms_up,
        }
        return [name for name, used in in_epochs.items() if used]

    # ---- one batch -----------------------------------------------------------------------------------------------

    def run(
        self, model: nn.Module, pixels: Tensor, targets: Tensor, others: Mapping[str, Any], position: RunPosition
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Adversarial pixels, found on the bare model so that gradient synchronisation is never involved.

        Args:
            model: the bare model; with ``attack_precision='bf16'`` a copy of it is attacked.
            pixels: (B, C, H, W), float32, in [0, 1].
            targets: (B, K), float probabilities, which the attack of TRADES and IKL does not see.
            others: what else the model takes.
            position: where the run stands.

        Returns:
            images like ``pixels``, and figures of the attack for the log; ``pixels`` themselves, at no cost, while the
            radius is 0.
        """
        attack = self.at(position)
        if attack.threat.epsilon == 0:
            return pixels, {"epsilon": 0.0, "zero_gradient_share": 0.0, "perturbation_norm": 0.0}

        def search(logits_fn: LogitsFunction) -> Any:
            reference = targets
            if self._args.settled_objective in ("trades", "ikl"):
                # Cross-entropy against the clean output has the gradient of KL(f(x) ‖ f(x')).
                with torch.no_grad():
                    reference = torch.softmax(logits_fn(pixels).float(), dim=1)
            return attack.run(logits_fn, pixels, reference, generator=self.generator)

        result = self._on_victim(search, model, others, position)
        return result.images, {
            "epsilon": attack.threat.epsilon,
            "zero_gradient_share": result.zero_gradient_share,
            "perturbation_norm": self._args.threat.distance(pixels, result.images).mean(),
        }

    def _on_victim(
        self,
        work: Callable[[LogitsFunction], Any],
        model: nn.Module,
        others: Mapping[str, Any],
        position: RunPosition,
    ) -> Any:
        """What ``work`` makes of the attacked network's logits function, while that network is frozen."""
        victim = self._victim(model, position.step)
        with under_attack(victim, keep_modes=self._args.attack_mode == "train"):
            network = self._compiled.get("attack", victim)
            return work(pixels_to_logits(network, self._pixel_space, self._num_classes, **others))

    def _victim(self, model: nn.Module, step: int) -> nn.Module:
        if self._copy is None:
            return model
        if self._copied_at_step != step:
            self._copy.refresh(model)
            self._copied_at_step = step
        return self._copy.model

    # ---- the guard -----------------------------------------------------------------------------------------------

    def watch(
        self,
        model: nn.Module,
        pixels: Tensor,
        adversarial: Tensor,
        labels: Tensor,
        others: Mapping[str, Any],
        position: RunPosition,
    ) -> dict[str, float]:
        """Every ``collapse_guard_steps`` steps, compare the training attack with PGD; every process must ask.

        Args:
            adversarial: (B, C, H, W), what :meth:`run` made of ``pixels``.
            labels: (B,) int64.

        Returns:
            what the batch withstands, for the log; empty where nothing was compared.
        """
        step = position.step
        due = self._args.collapse_guard != "off" and step % self._args.collapse_guard_steps == 0
        threat = self.at(position).threat
        if not due or self._guarded_at_step == step or threat.epsilon == 0:
            return {}
        self._guarded_at_step = step
        strong = PGD(threat, num_steps=_GUARD_STEPS)

        def share_right(logits_fn: LogitsFunction) -> Tensor:
            stronger = strong.attack(logits_fn, pixels, labels, generator=self.generator)
            with torch.no_grad():
                answers = [logits_fn(images).argmax(1) == labels for images in (adversarial, stronger)]
            return torch.stack([answer.double().mean() for answer in answers])

        shares = self._accelerator.reduce(self._on_victim(share_right, model, others, position), "mean")
        training, pgd = shares.tolist()
        if self.guard.look(training_accuracy=training, pgd_accuracy=pgd, radius=strong.threat.epsilon):
            self._report_collapse(training, pgd, step)
        return {"guard_training_attack_accuracy": training, "guard_pgd_accuracy": pgd}

    def _report_collapse(self, training: float, pgd: float, step: int) -> None:
        if self._args.collapse_guard == "two_steps":
            consequence = "the training attack has 2 steps from now on"
        else:
            consequence = (
                "this run will not be robust; start again with attack_steps=2, a longer epsilon_ramp_epochs, or "
                "collapse_guard='two_steps'"
            )
        logger.warning(
            f"catastrophic overfitting at step {step}: of a batch {pgd:.0%} withstand PGD-{_GUARD_STEPS}, after "
            f"{self.guard.best_pgd_accuracy:.0%} at best, while {training:.0%} withstand the training attack; "
            f"{consequence}"
        )
