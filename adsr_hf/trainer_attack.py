"""What a training step does to its images and weights before the loss: attack, ramp, guard, weight perturbation."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.trainer_utils import has_length
from transformers.utils import logging

from adsr_hf.attacks import PGD
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.method.collapse_guard import CollapseGuard
from adsr_hf.method.schedules import linear_ramp, sine_ramp
from adsr_hf.method.weight_perturbation import LossOf, WeightPerturbation
from adsr_hf.networks.classifier import pixels_to_logits
from adsr_hf.trainer_loss import LossTrainer
from adsr_hf.training.low_precision import BFloat16Copy

logger = logging.get_logger(__name__)

_GUARD_STEPS = 10
_RAMPS = {"linear": linear_ramp, "sine": sine_ramp}


class AttackingTrainer(LossTrainer):
    """Trainer that can attack a batch and perturb weights, as its arguments say; see :class:`adsr_hf.ADSRTrainer`."""

    def _prepare_attacks(self) -> None:
        """Set up what attacks need; called once when the trainer is built."""
        self._collapse_guard = CollapseGuard()
        self._guarded_at_step = -1
        self._compiled: dict[str, Any] = {}
        self._bfloat16_copy: BFloat16Copy | None = None
        self._copied_at_step = -1
        self._weight_perturbation: WeightPerturbation | None = None

    def begin_run(self) -> None:
        """See ResumableTrainer; refuse schedules that do not fit into the run."""
        super().begin_run()
        self._check_lengths_in_steps()

    def set_up_method(self) -> None:
        """See ResumableTrainer; with the copy that is attacked, the guard and the weights' perturbation."""
        self._prepare_attacks()
        super().set_up_method()
        wants_copy = self.args.attacks and self.args.attack_precision == "bf16"
        self._bfloat16_copy = BFloat16Copy(self.model) if wants_copy else None
        self._weight_perturbation = self._make_weight_perturbation()

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Trainer's own, after which perturbed weights are as they were, also when it raises."""
        try:
            return super().training_step(model, *args, **kwargs)
        finally:
            if self._weight_perturbation is not None:
                self._weight_perturbation.restore()

    # ---- where the run stands ------------------------------------------------------------------------------------

    def _steps_per_epoch(self) -> int:
        """Optimizer steps; the whole run where the data have no length, which then has one epoch."""
        loader = self.callback_handler.train_dataloader
        if loader is None or not has_length(loader):
            return self.schedule_steps
        return max(1, math.ceil(len(loader) / self.args.gradient_accumulation_steps))

    def schedules_by_length(self) -> list[str]:
        """See ResumableTrainer: what is counted in epochs, where the data have no length."""
        args, loader = self.args, self.callback_handler.train_dataloader
        if has_length(loader):
            return super().schedules_by_length()
        warms_up = args.weight_perturbation != "none" and args.weight_perturbation_warmup_epochs > 0
        in_epochs = {
            "epsilon_ramp_epochs": args.attacks and args.epsilon_ramp_epochs > 0,
            "attack_schedule": args.attacks and bool(args.attack_schedule),
            "weight_perturbation_warmup_epochs": warms_up,
        }
        return super().schedules_by_length() + [name for name, used in in_epochs.items() if used]

    def _epochs_passed(self) -> float:
        return self.state.global_step / self._steps_per_epoch()

    def _check_lengths_in_steps(self) -> None:
        """With max_steps, only now is it known how many epochs the run has.

        Raises:
            ValueError: when a ramp or a warm-up is longer than the run, or a scheduled attack would never come.
        """
        epochs = self.state.max_steps / self._steps_per_epoch()
        warms_up = self.args.weight_perturbation != "none"
        for name, ends in (
            ("epsilon_ramp_epochs", self.args.attacks and self.args.epsilon_ramp_epochs > epochs),
            (
                "weight_perturbation_warmup_epochs",
                warms_up and self.args.weight_perturbation_warmup_epochs >= epochs,
            ),
        ):
            if ends:
                raise ValueError(
                    f"{name}={getattr(self.args, name):g} is longer than the run, which ends after max_steps="
                    f"{self.state.max_steps} steps, {epochs:.3g} epochs; shorten it, or train longer"
                )
        late = [epoch for epoch in self.args.attack_schedule or {} if float(epoch) >= epochs]
        if late:
            raise ValueError(
                f"attack_schedule has an entry at epoch {late[0]}, but the run ends after max_steps="
                f"{self.state.max_steps} steps, {epochs:.3g} epochs; leave it out, or train longer"
            )

    # ---- attack --------------------------------------------------------------------------------------------------

    def _attacked(
        self,
        pixels: Tensor,
        targets: Tensor,
        others: dict[str, Any],
        figures: dict[str, Tensor | float],
    ) -> Tensor:
        """Adversarial pixels, found on the bare model, so that gradient sync is never involved.

        Args:
            pixels: (B, C, H, W), float32, in [0, 1].
            targets: (B, K), float probabilities, which TRADES' attack does not see.
        """
        attack = self._training_attack()

        def search(logits_fn: LogitsFunction) -> Any:
            reference = targets
            if self.args.settled_objective == "trades":
                # Cross-entropy against the clean output has the gradient of KL(f(x) ‖ f(x')).
                with torch.no_grad():
                    reference = torch.softmax(logits_fn(pixels).float(), dim=1)
            return attack.run(logits_fn, pixels, reference, generator=self.attack_generator)

        result = self._on_victim(search, others)
        figures["epsilon"] = attack.threat.epsilon
        figures["zero_gradient_share"] = result.zero_gradient_share
        figures["perturbation_norm"] = self.args.threat.distance(pixels, result.images).mean()
        return result.images

    def _training_attack(self) -> Any:
        ramp = _RAMPS[self.args.epsilon_ramp](
            step=self.state.global_step, ramp_steps=self.args.epsilon_ramp_epochs * self._steps_per_epoch()
        )
        switched = self.args.collapse_guard == "two_steps" and self._collapse_guard.collapsed
        return self.args.attack_at(self._epochs_passed(), ramp=ramp, least_steps=2 if switched else 1)

    def _on_victim(self, work: Callable[[LogitsFunction], Any], others: dict[str, Any]) -> Any:
        """What ``work`` makes of the attacked network's logits function, while that network is frozen."""
        victim = self._victim()
        with under_attack(victim, keep_modes=self.args.attack_mode == "train"):
            network = self._maybe_compiled("attack", victim)
            return work(pixels_to_logits(network, self.pixel_space, self.num_classes, **others))

    def _victim(self) -> nn.Module:
        if self._bfloat16_copy is None:
            return self.model
        if self._copied_at_step != self.state.global_step:
            self._bfloat16_copy.refresh(self.model)
            self._copied_at_step = self.state.global_step
        return self._bfloat16_copy.model

    def _maybe_compiled(self, name: str, network: nn.Module) -> Any:
        if not self.args.torch_compile:
            return network
        if name not in self._compiled:
            self._compiled[name] = torch.compile(
                network, backend=self.args.torch_compile_backend, mode=self.args.torch_compile_mode
            )
        return self._compiled[name]

    # ---- weight perturbation -------------------------------------------------------------------------------------

    def _make_weight_perturbation(self) -> WeightPerturbation | None:
        kind = self.args.weight_perturbation
        if kind == "none":
            return None
        radius = self.args.weight_perturbation_radius
        return WeightPerturbation(self.model, radius=radius, every_tensor=kind == "layerwise_sam")

    def _perturb_weights(self, loss_of: LossOf) -> None:
        """Move the weights until the step's backward pass is over."""
        warm = self._epochs_passed() >= self.args.weight_perturbation_warmup_epochs
        if self._weight_perturbation is None or not warm:
            return
        average = None
        if self.args.world_size > 1:

            def average(tensor: Tensor) -> Tensor:
                return self.accelerator.reduce(tensor, "mean")

        scaler = self.accelerator.scaler
        scale = scaler.get_scale() if scaler is not None else 1.0
        self._weight_perturbation.perturb(loss_of, average=average, scale=scale)

    # ---- collapse guard ------------------------------------------------------------------------------------------

    def _guard(self, pixels: Tensor, adversarial: Tensor, labels: Tensor, others: dict[str, Any]) -> None:
        """Now and then, look whether a single-step attack has stopped to mean anything."""
        step = self.state.global_step
        due = self.args.collapse_guard != "off" and step % self.args.collapse_guard_steps == 0
        if not due or self._guarded_at_step == step:
            return
        self._guarded_at_step = step
        attack = PGD(self._training_attack().threat, num_steps=_GUARD_STEPS)

        def share_right(logits_fn: LogitsFunction) -> Tensor:
            strong = attack.attack(logits_fn, pixels, labels, generator=self.attack_generator)
            with torch.no_grad():
                answers = [logits_fn(images).argmax(1) == labels for images in (adversarial, strong)]
            return torch.stack([answer.double().mean() for answer in answers])

        shares = self.accelerator.reduce(self._on_victim(share_right, others), "mean")
        training, pgd = shares.tolist()
        self.log({"guard_training_attack_accuracy": training, "guard_pgd_accuracy": pgd})
        if self._collapse_guard.look(training_accuracy=training, pgd_accuracy=pgd, radius=attack.threat.epsilon):
            self._report_collapse(training, pgd)

    def _report_collapse(self, training: float, pgd: float) -> None:
        best = self._collapse_guard.best_pgd_accuracy
        if self.args.collapse_guard == "two_steps":
            consequence = "the training attack has 2 steps from now on"
        else:
            consequence = (
                "this run will not be robust; start again with attack_steps=2, a longer epsilon_ramp_epochs, or "
                "collapse_guard='two_steps'"
            )
        logger.warning(
            f"catastrophic overfitting at step {self.state.global_step}: of a batch {pgd:.0%} withstand "
            f"PGD-{_GUARD_STEPS}, after {best:.0%} at best, while {training:.0%} withstand the training attack; "
            f"{consequence}"
        )

    def process_state(self) -> dict[str, Tensor]:
        """See ResumableTrainer."""
        return super().process_state() | self._collapse_guard.state_dict()

    def load_common_state(self, state: dict[str, Tensor]) -> None:
        """See ResumableTrainer."""
        super().load_common_state(state)
        self._collapse_guard.load_state_dict(state)
