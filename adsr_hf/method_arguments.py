"""The method's knobs, apart from TrainingArguments so that ``adsr train --help`` need not import torch."""

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal

from adsr_hf.radius import Radius

METHODS = ("clean", "pgd_at", "adsr")


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class MethodArguments:
    """How to train and how to measure. Every field is checked when the object is built.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    method: Literal["clean", "pgd_at", "adsr"] = field(
        default="adsr",
        metadata=_help(
            "What to train: 'clean' (cross-entropy on clean images), 'pgd_at' (adversarial training, Madry et al. "
            "2018) or 'adsr' (the same against labels rectified by the model's moving average: ADR, Wu et al., ICLR "
            "2024, arXiv 2305.12118). Compare 'adsr' with 'pgd_at' before you believe its gain."
        ),
    )
    norm: Literal["Linf", "L2"] = field(
        default="Linf",
        metadata=_help(
            "Norm of the threat model: 'Linf' bounds the change of each value, 'L2' the length of the whole change."
        ),
    )
    epsilon: Radius = field(
        default=Radius("8/255"),
        metadata=_help(
            "Radius of the threat model in [0, 1] pixel units, as a number or a fraction. Usual: 8/255 at 32 px and "
            "4/255 at 224 px for Linf, 0.5 for L2. Choose the smallest that covers what your camera or attacker does."
        ),
    )
    epsilon_ramp_epochs: float = field(
        default=0.0,
        metadata=_help(
            "Epochs over which the training attack's radius grows linearly from near 0 to epsilon; 0 = full from the "
            "first step. Transformers trained from scratch often stall at chance without it."
        ),
    )
    attack_steps: int = field(
        default=10,
        metadata=_help("Gradient steps of the training attack (PGD-10 in the paper). Cost grows in proportion."),
    )
    attack_step_size: Radius | None = field(
        default=None,
        metadata=_help(
            "Length of one attack step in [0, 1] pixel units, number or fraction; the paper uses 2/255 at epsilon "
            "8/255. Default: 2.5 * epsilon / attack_steps (Madry et al. 2018, section 5)."
        ),
    )
    attack_random_start: bool = field(
        default=True, metadata=_help("Start the training attack at a uniform point of the ball. Keep it on.")
    )
    attack_mode: Literal["eval", "train"] = field(
        default="eval",
        metadata=_help(
            "Module mode during the training attack. 'eval' is the sound choice; 'train' is the paper's code: dropout "
            "stays live and batch statistics are updated by every attack step."
        ),
    )
    attack_precision: Literal["float32", "bf16"] = field(
        default="float32",
        metadata=_help(
            "'float32' attacks the model as it trains (inside autocast if bf16 is set); 'bf16' a bfloat16 copy of its "
            "weights, refreshed after each step: faster, watch zero_gradient_share. Images stay float32 in both."
        ),
    )
    eval_attack_steps: int = field(
        default=20,
        metadata=_help(
            "PGD steps of the attack in evaluation; 0 leaves robust figures out. Use more than in training."
        ),
    )
    eval_attack_restarts: int = field(
        default=1, metadata=_help("Random restarts of the attack in evaluation; the worst is kept for each image.")
    )
    temperature_start: float = field(
        default=2.0,
        metadata=_help(
            "Teacher's softmax temperature tau at the first step (ADR equation 4; paper 2.5 for CIFAR-10 and 1.5 for "
            "CIFAR-100). Short runs want less: above 1 they lose calibration."
        ),
    )
    temperature_end: float = field(
        default=1.0, metadata=_help("tau at the last step; half-cosine in between (paper 2.0 for CIFAR-10).")
    )
    interpolation_start: float = field(
        default=0.7,
        metadata=_help("Weight lambda of the teacher's distribution at the first step, in [0, 1] (ADR equation 6)."),
    )
    interpolation_end: float = field(
        default=0.95, metadata=_help("lambda at the last step, in [0, 1]; half-cosine in between (paper 0.95).")
    )
    teacher_decay: float = field(
        default=0.995,
        metadata=_help(
            "Decay gamma of the teacher's moving average, in [0, 1). It remembers about 1 / (1 - gamma) optimizer "
            "steps: keep that well below the length of the run (0.98 for some hundred steps)."
        ),
    )
    publish: Literal["student", "teacher"] = field(
        default="student",
        metadata=_help(
            "Which weights model.safetensors and the Hub get. 'teacher' is weight averaging (the paper's WA) and also "
            "works with method 'clean' and 'pgd_at'."
        ),
    )
    evaluate_weights: Literal["both", "student", "teacher"] = field(
        default="both",
        metadata=_help(
            "Which weights trainer.evaluate() measures, where a teacher is kept: its figures begin with 'teacher_'."
        ),
    )

    @property
    def attacks(self) -> bool:
        """Whether training images are attacked."""
        return self.method != "clean"

    @property
    def keeps_teacher(self) -> bool:
        """Whether a moving average is maintained: ADSR learns from it, publish='teacher' delivers it."""
        return self.method == "adsr" or self.publish == "teacher"

    def check_method(self) -> None:
        """Check every field once.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        self.epsilon = _radius("epsilon", self.epsilon)
        if self.attack_step_size is not None:
            self.attack_step_size = _radius("attack_step_size", self.attack_step_size)
        for name, allowed in (
            ("method", METHODS),
            ("norm", ("Linf", "L2")),
            ("attack_mode", ("eval", "train")),
            ("attack_precision", ("float32", "bf16")),
            ("publish", ("student", "teacher")),
            ("evaluate_weights", ("both", "student", "teacher")),
        ):
            _one_of(name, getattr(self, name), allowed)
        self._check_threat()
        self._check_labels()
        if self.attack_precision == "bf16" and self.attack_mode == "train":
            raise ValueError(
                "attack_precision='bf16' attacks a copy, whose batch statistics and dropout are not the model's own, "
                "so attack_mode='train' would mean nothing; use attack_mode='eval', or attack_precision='float32'"
            )
        if self.evaluate_weights == "teacher" and not self.keeps_teacher:
            raise ValueError(
                f"evaluate_weights='teacher' but method={self.method!r} with publish='student' keeps no teacher; set "
                "publish='teacher', or evaluate_weights='student'"
            )

    def _check_threat(self) -> None:
        _in_range("epsilon", self.epsilon, low=0, fix="write a radius such as 8/255")
        if self.norm == "Linf" and self.epsilon > 1:
            raise ValueError(
                f"epsilon={self.epsilon:g} is above 1, but pixels lie in [0, 1]; if you meant {self.epsilon:g} grey "
                f"levels, write epsilon={self.epsilon:g}/255"
            )
        if self.attacks and self.epsilon == 0:
            raise ValueError(
                f"epsilon=0 leaves method={self.method!r} nothing to attack; set a radius such as 8/255, or "
                "method='clean'"
            )
        _in_range("epsilon_ramp_epochs", self.epsilon_ramp_epochs, low=0, fix="0 trains at full epsilon throughout")
        if self.attack_step_size is not None and not 0 < self.attack_step_size < math.inf:
            raise ValueError(
                f"attack_step_size={self.attack_step_size:g} must be positive and finite; leave it out for "
                "2.5 * epsilon / attack_steps"
            )
        _at_least("attack_steps", self.attack_steps, 1, fix="for training without an attack set method='clean'")
        _at_least("eval_attack_steps", self.eval_attack_steps, 0, fix="0 leaves robust figures out")
        _at_least("eval_attack_restarts", self.eval_attack_restarts, 1, fix="1 is a single run")

    def _check_labels(self) -> None:
        for name in ("temperature_start", "temperature_end"):
            value = getattr(self, name)
            if not (_is_finite(value) and value > 0):
                raise ValueError(
                    f"{name}={value!r} must be a positive number; 1 leaves the teacher's softmax as it is"
                )
        for name in ("interpolation_start", "interpolation_end"):
            _in_range(name, getattr(self, name), low=0, high=1, fix="it is the teacher's share of the label")
        if not (_is_finite(self.teacher_decay) and 0 <= self.teacher_decay < 1):
            raise ValueError(
                f"teacher_decay={self.teacher_decay!r} must lie in [0, 1): 1 would never leave the initial weights; "
                "0.995 remembers about 200 optimizer steps"
            )


def _radius(name: str, value: "str | float") -> Radius:
    try:
        return Radius(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, allowed))}")


def _at_least(name: str, value: int, low: int, *, fix: str) -> None:
    if not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {low}; {fix}")


def _in_range(name: str, value: float, *, low: float, high: float = math.inf, fix: str) -> None:
    if not (_is_finite(value) and low <= value <= high):
        allowed = f"lie in [{low:g}, {high:g}]" if math.isfinite(high) else f"be a finite number of at least {low:g}"
        raise ValueError(f"{name}={value!r} must {allowed}; {fix}")


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
