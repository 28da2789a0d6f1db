"""The method's knobs, apart from TrainingArguments so that ``adsr train --help`` need not import torch."""

from dataclasses import dataclass
from typing import Literal

from adsr_hf.settings.attack import AttackArguments
from adsr_hf.settings.checks import in_range, is_finite, one_of
from adsr_hf.settings.ikl import IKLArguments
from adsr_hf.settings.learning_rate import LearningRateArguments
from adsr_hf.settings.regularization import RegularizationArguments
from adsr_hf.settings.resumption import ResumptionArguments
from adsr_hf.settings.setting import setting

OBJECTIVES = ("clean", "pgd_at", "trades", "mart", "ikl")
LABELS = ("onehot", "label_smoothing", "adsr")

# What each method stands for: an objective and a source of labels.
METHODS = {
    "clean": ("clean", "onehot"),
    "pgd_at": ("pgd_at", "onehot"),
    "trades": ("trades", "onehot"),
    "mart": ("mart", "onehot"),
    "ikl": ("ikl", "onehot"),
    "adsr": ("pgd_at", "adsr"),
}


@dataclass
class MethodArguments(
    AttackArguments, IKLArguments, RegularizationArguments, LearningRateArguments, ResumptionArguments
):
    """How to train and how to measure. Every field is checked when the object is built.

    ``objective`` and ``labels`` hold what departs from the method; the pair that is trained with is
    ``settled_objective`` and ``settled_labels``.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    # A field of TrainingArguments, not one of this class.
    label_smoothing_factor = 0.0

    method: Literal["clean", "pgd_at", "trades", "mart", "ikl", "adsr"] = setting(
        "adsr",
        "Shorthand for an objective and its labels: 'clean' (cross-entropy on clean images), 'pgd_at' "
        "(adversarial training, Madry et al. 2018), 'trades' (Zhang et al. 2019), 'mart' (Wang et al. 2020), 'ikl' "
        "(IKL-AT: Cui et al., NeurIPS 2024, arXiv 2305.13948), each on one-hot labels, or 'adsr' (pgd_at "
        "against labels rectified by the model's moving average: ADR, Wu et al., ICLR 2024, arXiv 2305.12118). "
        "objective and labels override it. Compare 'adsr' with 'pgd_at' before you believe its gain.",
    )
    objective: Literal["clean", "pgd_at", "trades", "mart", "ikl"] | None = setting(
        None,
        "Loss to train with, whatever the labels; default: the method's. ADSR in its TRADES form is method 'adsr' "
        "with objective 'trades'.",
    )
    labels: Literal["onehot", "label_smoothing", "adsr"] | None = setting(
        None,
        "Where labels come from, whatever the objective: 'onehot', 'label_smoothing' (see label_smoothing_factor) "
        "or 'adsr' (rectified by the teacher). Default: the method's, or 'label_smoothing' where "
        "label_smoothing_factor is set.",
    )
    trades_beta: float = setting(
        6.0, "Weight beta of TRADES' divergence between clean and attacked output (6 in its paper)."
    )
    mart_beta: float = setting(5.0, "Weight of MART's divergence between clean and attacked output (5 in its paper).")
    temperature_start: float = setting(
        2.0,
        "Teacher's softmax temperature tau at the first step (ADR equation 4; paper 2.5 for CIFAR-10 and 1.5 for "
        "CIFAR-100). Short runs want less: above 1 they lose calibration.",
    )
    temperature_end: float = setting(1.0, "tau at the last step; half-cosine in between (paper 2.0 for CIFAR-10).")
    interpolation_start: float = setting(
        0.7, "Weight lambda of the teacher's distribution at the first step, in [0, 1] (ADR equation 6)."
    )
    interpolation_end: float = setting(
        0.95, "lambda at the last step, in [0, 1]; half-cosine in between (paper 0.95)."
    )
    labels_follow: Literal["clock", "teacher"] = setting(
        "clock",
        "What rectified labels trust the teacher by. 'clock': the paper's schedules, right for runs as long as its "
        "own. 'teacher' (ours): the temperature at which the teacher is calibrated on the images of the run, at most "
        "the scheduled one, and the scheduled interpolation times its accuracy, so that a teacher which is still "
        "unsure says little; for runs of any length.",
    )
    fixed_teacher: str | None = setting(
        None,
        "Checkpoint, a Hub name or a folder, that rectifies the labels in place of the moving average: "
        "distillation from a fixed teacher, the paper's baseline. It must have the model's classes.",
    )
    teacher_decay: float = setting(
        0.995,
        "Decay gamma of the teacher's moving average, in [0, 1). It remembers about 1 / (1 - gamma) optimizer "
        "steps: keep that well below the length of the run (0.98 for some hundred steps).",
    )
    teacher_memory: float | None = setting(
        None,
        "The same as a share of the run, in (0, 1]: the average remembers teacher_memory * (steps of the run) "
        "optimizer steps, so that nothing is rescaled by hand when the run gets another length (0.03 of 6,600 "
        "steps is what teacher_decay 0.995 remembers). In place of teacher_decay.",
    )
    teacher_decay_warmup: bool = setting(
        False,
        "Let the decay grow with the run: min(teacher_decay, (1 + step) / (10 + step)), so that the first weights "
        "are forgotten soon. Off in the paper.",
    )
    publish: Literal["student", "teacher"] = setting(
        "student",
        "Which weights model.safetensors and the Hub get. 'teacher' is weight averaging (the paper's WA) and "
        "works with every method.",
    )
    evaluate_weights: Literal["both", "student", "teacher"] = setting(
        "both",
        "Which weights trainer.evaluate() measures, where a teacher is kept: its figures begin with 'teacher_'.",
    )

    @property
    def settled_objective(self) -> str:
        """The loss that is trained with: ``objective``, or the method's where it is None."""
        return self.objective or METHODS[self.method][0]

    @property
    def settled_labels(self) -> str:
        """Where labels come from: ``labels``, or where it is None the method's, smoothed if there is a factor."""
        of_method = METHODS[self.method][1]
        smoothed = of_method == "onehot" and self.label_smoothing_factor > 0
        return self.labels or ("label_smoothing" if smoothed else of_method)

    @property
    def attacks(self) -> bool:
        """Whether training images are attacked."""
        return self.settled_objective != "clean"

    @property
    def replaces_loss(self) -> bool:
        """Whether the method has a loss of its own in place of Trainer's."""
        return self.attacks or self.mixes or self.weight_perturbation != "none"

    @property
    def rectifies(self) -> bool:
        """Whether a teacher rectifies the labels."""
        return self.settled_labels == "adsr"

    @property
    def keeps_teacher(self) -> bool:
        """Whether a moving average is maintained: to learn from, or because publish='teacher' delivers it."""
        return (self.rectifies and self.fixed_teacher is None) or self.publish == "teacher"

    def check_method(self) -> None:
        """Check every field, and write the pair of objective and labels in one way; may be called again.

        ``method`` is ``"adsr"`` afterwards where labels are rectified, and the objective's name otherwise;
        ``objective`` and ``labels`` are None where they are that method's own, so that a copy with another method is
        trained by that one.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        self._settle_pair()
        one_of("publish", self.publish, ("student", "teacher"))
        one_of("evaluate_weights", self.evaluate_weights, ("both", "student", "teacher"))
        one_of("labels_follow", self.labels_follow, ("clock", "teacher"))
        self.check_attacks()
        if self.attacks and self.epsilon == 0:
            raise ValueError(
                f"epsilon=0 leaves method={self.method!r} nothing to attack; set a radius such as 8/255, or "
                "method='clean'"
            )
        if not self.attacks and self.collapse_guard != "off":
            raise ValueError(
                f"collapse_guard={self.collapse_guard!r} watches the training attack, and method='clean' has none; "
                "set it to 'off'"
            )
        self.check_resumption()
        self._check_labels()
        self.check_regularization(objective=self.settled_objective)
        self.check_ikl(objective=self.settled_objective, mixup=self.mixup, cutmix=self.cutmix)
        if self.evaluate_weights == "teacher" and not self.keeps_teacher:
            raise ValueError(
                f"evaluate_weights='teacher' but method={self.method!r} with publish='student' keeps no teacher; set "
                "publish='teacher', or evaluate_weights='student'"
            )

    def check_lengths(self, *, epochs: float, run: str) -> None:
        """Refuse schedules in epochs that are longer than the run.

        Args:
            epochs: length of the run.
            run: the same for the message, such as ``"num_train_epochs=3"``.

        Raises:
            ValueError: naming the field, its value and the run.
        """
        if self.attacks:
            self.check_schedule_fits(epochs=epochs, run=run)
        self.check_warmup_fits(epochs=epochs, run=run)

    def _settle_pair(self) -> None:
        if not 0 <= self.label_smoothing_factor < 1:
            raise ValueError(
                f"label_smoothing_factor={self.label_smoothing_factor} must lie in [0, 1); 0 leaves labels as they are"
            )
        one_of("method", self.method, tuple(METHODS))
        objective, labels = self.settled_objective, self.settled_labels
        one_of("objective", objective, OBJECTIVES)
        one_of("labels", labels, LABELS)
        if objective == "clean" and labels == "adsr":
            raise ValueError(
                "objective='clean' does not go with labels='adsr': rectified labels soften what adversarial training "
                "would overfit, and clean training has no attack; use objective='pgd_at', or labels='label_smoothing'"
            )
        self.method = "adsr" if labels == "adsr" else objective  # type: ignore[assignment]
        self.objective = self.labels = None
        if objective != self.settled_objective:
            self.objective = objective  # type: ignore[assignment]
        if labels != self.settled_labels:
            self.labels = labels  # type: ignore[assignment]

    def _check_labels(self) -> None:
        in_range("trades_beta", self.trades_beta, low=0, fix="6 is the paper's value")
        in_range("mart_beta", self.mart_beta, low=0, fix="5 is the paper's value")
        if self.label_smoothing_factor and self.settled_labels != "label_smoothing":
            raise ValueError(
                f"label_smoothing_factor={self.label_smoothing_factor} does not go with method={self.method!r}, whose "
                f"labels are {self.settled_labels!r}; set it to 0, or labels='label_smoothing'"
            )
        if self.settled_labels == "label_smoothing" and not self.label_smoothing_factor:
            raise ValueError(
                "labels='label_smoothing' needs label_smoothing_factor above 0, such as 0.1; or use labels='onehot'"
            )
        for name in ("temperature_start", "temperature_end"):
            value = getattr(self, name)
            if not (is_finite(value) and value > 0):
                raise ValueError(
                    f"{name}={value!r} must be a positive number; 1 leaves the teacher's softmax as it is"
                )
        for name in ("interpolation_start", "interpolation_end"):
            in_range(name, getattr(self, name), low=0, high=1, fix="it is the teacher's share of the label")
        if not (is_finite(self.teacher_decay) and 0 <= self.teacher_decay < 1):
            raise ValueError(
                f"teacher_decay={self.teacher_decay!r} must lie in [0, 1): 1 would never leave the initial weights; "
                "0.995 remembers about 200 optimizer steps"
            )
        self._check_memory()
        if self.fixed_teacher is not None and not self.rectifies:
            raise ValueError(
                f"fixed_teacher={self.fixed_teacher!r} rectifies labels, but labels={self.settled_labels!r}; set "
                "labels='adsr', or leave it out"
            )

    def _check_memory(self) -> None:
        memory = self.teacher_memory
        if memory is None:
            return
        if not (is_finite(memory) and 0 < memory <= 1):
            raise ValueError(
                f"teacher_memory={memory!r} must lie in (0, 1], a share of the run; 0.03 is a usual one, and None "
                "leaves it to teacher_decay"
            )
        if self.teacher_decay != MethodArguments.teacher_decay:
            raise ValueError(
                f"teacher_memory={memory:g} and teacher_decay={self.teacher_decay:g} both say how long the teacher "
                "remembers; leave one out"
            )
