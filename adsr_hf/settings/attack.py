"""Threat model and attacks of a run, in training and in evaluation. Imports nothing heavy."""

import math
from dataclasses import dataclass
from typing import Literal

from adsr_hf.settings.attack_schedule import AttackScheduleArguments
from adsr_hf.settings.checks import at_least, one_of, radius
from adsr_hf.settings.radius import Radius, check_radius
from adsr_hf.settings.setting import setting

# With this much of an Linf radius every image can be turned into the same grey one.
_ALL_GREY = 0.5
# The largest radii in use: MNIST (Madry et al. 2018), ImageNet (robustness library); and a small one for L2.
_LARGEST_LINF, _LARGEST_L2, _SMALL_L2 = 0.3, 5.0, 0.05


@dataclass
class AttackArguments(AttackScheduleArguments):
    """What an attacker may do, how training imitates it, and how evaluation does.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    norm: Literal["Linf", "L2"] = setting(
        "Linf",
        "Norm of the threat model: 'Linf' bounds the change of each value, 'L2' the length of the whole change.",
    )
    epsilon: Radius = setting(
        Radius("8/255"),
        "Radius of the threat model in [0, 1] pixel units, as a number or a fraction. Usual: 8/255 at 32 px and "
        "4/255 at 224 px for Linf, 0.5 for L2. Choose the smallest that covers what your camera or attacker does.",
    )
    training_attack: Literal["pgd", "apgd"] = setting(
        "pgd",
        "Training attack: 'pgd' (Madry et al. 2018; with attack_steps 1 the single-step attack of Wong et al. "
        "2020) or 'apgd' (Croce & Hein 2020: step sizes chosen on the way; 2 steps are what Singh et al. 2023 "
        "train ImageNet transformers with).",
    )
    attack_steps: int = setting(
        10,
        "Gradient steps of the training attack (PGD-10 in the paper). Cost grows in proportion. With 1, set "
        "epsilon_ramp_share and collapse_guard.",
    )
    attack_step_size: Radius | None = setting(
        None,
        "Length of one PGD step in [0, 1] pixel units, number or fraction; the paper uses 2/255 at epsilon "
        "8/255. Default: 2.5 * epsilon / attack_steps (Madry et al. 2018, section 5), and 1.25 * epsilon for a "
        "single step (Wong et al. 2020).",
    )
    attack_restarts: int = setting(
        1, "Random restarts of the training attack; the worst is kept for each image. Multiplies its cost."
    )
    attack_random_start: bool = setting(
        True,
        "Start the training attack at a random point: uniform in the ball, or within 0.001 of the image for "
        "TRADES, MART and IKL, as in their papers. Keep it on.",
    )
    attack_mode: Literal["eval", "train"] = setting(
        "eval",
        "Module mode during the training attack. 'eval' is the sound choice: dropout and drop path are off; "
        "'train' is the paper's code: both stay live and batch statistics are updated by every attack step.",
    )
    attack_precision: Literal["float32", "bf16"] = setting(
        "float32",
        "'float32' attacks the model as it trains (inside autocast if bf16 is set); 'bf16' a bfloat16 copy of its "
        "weights, refreshed after each step: faster, watch zero_gradient_share. Images stay float32 in both.",
    )
    collapse_guard: Literal["off", "warn", "two_steps"] = setting(
        "off",
        "Watch for catastrophic overfitting of single-step training (Wong et al. 2020): every "
        "collapse_guard_steps the batch is attacked by PGD-10 too, and where accuracy against it falls away while "
        "accuracy against the training attack does not, 'warn' says so and 'two_steps' trains on with 2 steps.",
    )
    collapse_guard_steps: int = setting(50, "Optimizer steps between two looks of the collapse guard.")
    eval_attack_steps: int = setting(
        20, "PGD steps of the attack in evaluation; 0 leaves robust figures out. Use more than in training."
    )
    eval_attack_restarts: int = setting(
        1, "Random restarts of the attack in evaluation; the worst is kept for each image."
    )

    def check_attacks(self) -> None:
        """Check every field of the threat model and of the attacks.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        self.epsilon = radius("epsilon", self.epsilon)
        if self.attack_step_size is not None:
            self.attack_step_size = radius("attack_step_size", self.attack_step_size)
        for name, allowed in (
            ("norm", ("Linf", "L2")),
            ("training_attack", ("pgd", "apgd")),
            ("attack_mode", ("eval", "train")),
            ("attack_precision", ("float32", "bf16")),
            ("collapse_guard", ("off", "warn", "two_steps")),
        ):
            one_of(name, getattr(self, name), allowed)
        self._check_radius()
        self._check_steps()
        self.check_attack_schedule(epsilon=float(self.epsilon))

    def _check_radius(self) -> None:
        check_radius(self.norm, float(self.epsilon))
        if self.norm == "Linf" and self.epsilon >= _ALL_GREY:
            raise ValueError(
                f"epsilon={self.epsilon:g} lets an attacker turn every image into the same grey one, so that nothing "
                "can be learned or measured; stay below 0.5 for Linf: 8/255 is usual, and 0.3 the largest in use"
            )

    def implausible_radius(self) -> list[str]:
        """Warnings of a radius that is allowed and hardly meant."""
        epsilon = float(self.epsilon)
        if self.norm == "Linf" and epsilon > _LARGEST_LINF:
            return [
                f"epsilon={epsilon:g} is larger than any Linf radius in use (0.3 on MNIST, 16/255 on photographs); if "
                "a class can be turned into another by it, no model can be robust"
            ]
        if self.norm == "L2" and epsilon > _LARGEST_L2:
            return [
                f"epsilon={epsilon:g} is larger than any L2 radius in use (0.5 at 32 px, 3 to 5 at 224 px); if you "
                f"meant {epsilon:g} grey levels, write {epsilon:g}/255"
            ]
        if self.norm == "L2" and 0 < epsilon < _SMALL_L2:
            return [
                f"epsilon={epsilon:g} is the length of the whole change with norm='L2', and hardly one; 0.5 is usual "
                "at 32 px, and radii such as 8/255 belong to norm='Linf'"
            ]
        return []

    def _check_steps(self) -> None:
        if self.attack_step_size is not None and not 0 < self.attack_step_size < math.inf:
            raise ValueError(
                f"attack_step_size={self.attack_step_size:g} must be positive and finite; leave it out for "
                "2.5 * epsilon / attack_steps"
            )
        at_least("attack_steps", self.attack_steps, 1, fix="for training without an attack set method='clean'")
        at_least("attack_restarts", self.attack_restarts, 1, fix="1 is a single run")
        if self.attack_restarts > 1 and not self.attack_random_start:
            raise ValueError(
                f"attack_restarts={self.attack_restarts} needs attack_random_start=True: without it every restart is "
                "the same"
            )
        if self.training_attack == "apgd" and self.attack_step_size is not None:
            raise ValueError(
                f"attack_step_size={self.attack_step_size:g} does not go with training_attack='apgd', which "
                "chooses its own; leave it out, or use 'pgd'"
            )
        if self.attack_precision == "bf16" and self.attack_mode == "train":
            raise ValueError(
                "attack_precision='bf16' attacks a copy, whose batch statistics and dropout are not the model's own, "
                "so attack_mode='train' would mean nothing; use attack_mode='eval', or attack_precision='float32'"
            )
        if self.collapse_guard == "two_steps" and self.attack_steps > 1:
            raise ValueError(
                f"collapse_guard='two_steps' is for training with attack_steps=1, got {self.attack_steps}; use "
                "'warn', or 'off'"
            )
        at_least("eval_attack_steps", self.eval_attack_steps, 0, fix="0 leaves robust figures out")
        at_least("eval_attack_restarts", self.eval_attack_restarts, 1, fix="1 is a single run")
        at_least("collapse_guard_steps", self.collapse_guard_steps, 1, fix="50 is cheap")
