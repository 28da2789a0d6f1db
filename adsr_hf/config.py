"""ADSRConfig: TrainingArguments with the method's knobs."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import logging

from adsr_hf.attacks import PGD, AutoPGD, ThreatModel
from adsr_hf.settings.calibration import CalibrationArguments
from adsr_hf.settings.checks import finite_numbers
from adsr_hf.settings.fine_tuning import FineTuningArguments
from adsr_hf.settings.method import MethodArguments
from adsr_hf.settings.presets import takes_preset
from adsr_hf.settings.selection import DefaultFigure, check_figure, default_figure
from adsr_hf.settings.setting import setting
from adsr_hf.settings.training_ranges import check_training_ranges

logger = logging.get_logger(__name__)

# Standard deviation of the start's noise in the papers of TRADES and MART and in IKL's code.
NEAR_START = 0.001
# A single step is this many radii long (Wong et al. 2020, section 5).
SINGLE_STEP = 1.25
# Schedules that follow a figure of the evaluations.
_WATCHING = ("reduce_lr_on_plateau", "greedy")


@takes_preset
@dataclass(repr=False)
class ADSRConfig(MethodArguments, FineTuningArguments, CalibrationArguments, TrainingArguments):
    """Settings of :class:`adsr_hf.ADSRTrainer`: every field of ``transformers.TrainingArguments``, and the method's.

    Two of Trainer's defaults differ, and one is filled in otherwise: ``remove_unused_columns=None`` (columns that the
    model does not take are dropped, but not before a transform, which reads the image), ``metric_for_best_model``
    defaults to the published weights' robust accuracy (to their accuracy where training does not attack), and for
    calibration errors ``greater_is_better`` is False. ``label_smoothing_factor`` smooths the labels of the baselines
    'clean' and 'pgd_at'.

    The Hub token is never written: a pickled or copied config carries none, so log in or set the usual environment
    variable instead when you copy a config.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.

    Example:
        >>> config = ADSRConfig(output_dir="runs/mine", method="adsr", epsilon="8/255", use_cpu=True)
        >>> str(config.threat), config.evaluation_attack.num_steps
        ('Linf 8/255', 20)
    """

    remove_unused_columns: bool | None = setting(
        None,
        "Drop columns that the model does not take. Default: from rows that hold pixel_values, as Trainer "
        "does, unless the data set has a transform, which reads the image.",
    )

    metric_for_best_model: str | None = setting(
        None,
        "Figure that chooses the best checkpoint: robust_accuracy, accuracy, ece, robust_ece, loss, these "
        "with teacher_ before them, or one of your own compute_metrics. Default: the published weights' robust "
        "accuracy; accuracy where training does not attack, loss where only evaluation does not. A method on the "
        "command line or in a study's arm does not inherit a robust figure that was written for an attacked one.",
    )
    greater_is_better: bool | None = setting(None, "Default: True unless the figure's name ends with loss or ece.")

    def __post_init__(self) -> None:
        self.check_method()
        self.check_fine_tuning()
        self.check_calibration(epsilon=float(self.epsilon), eval_attack_steps=self.eval_attack_steps)
        self.settle_figure()
        finite_numbers(self)
        super().__post_init__()
        check_training_ranges(self)
        if self.metric_for_best_model is not None:
            check_figure(self.metric_for_best_model, self)
        self._check_training()

    def settle_figure(self) -> None:
        """Name the figure that chooses, and its direction, where nobody did; again where the method was changed."""
        given = self.metric_for_best_model
        chooses = self.load_best_model_at_end or self.save_strategy == "best"
        if chooses and (given is None or isinstance(given, DefaultFigure)):
            self.metric_for_best_model = DefaultFigure(default_figure(self))
            if given not in (None, self.metric_for_best_model):
                self.greater_is_better = None
        elif given is None and self.evaluate_weights == "teacher" and self._schedule in _WATCHING:
            # Trainer's default, loss, is the student's, which is not measured.
            self.metric_for_best_model = "teacher_loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith(("loss", "ece"))

    def _check_training(self) -> None:
        if self.fp16 and (self.use_cpu or not torch.accelerator.is_available()):
            raise ValueError("fp16=True on a CPU would silently train in float32; use bf16=True, or a GPU")
        self._check_lengths()
        self._check_optimizer()
        for warning in self.implausible_radius():
            logger.warning(warning)
        self.check_learning_rate(schedule=self._schedule, warmup_steps=self.warmup_steps)
        if not self.average_tokens_across_devices:
            raise ValueError(
                "average_tokens_across_devices=False is not supported: every image of an optimizer step counts alike, "
                "whichever process has it; set it to True"
            )
        if self.save_only_model and self.load_best_model_at_end and self.keeps_teacher:
            raise ValueError(
                "save_only_model=True saves no teacher, so load_best_model_at_end=True could not restore it; set one "
                "of them to False"
            )
        # The older of the two names, which every supported version fills in (transformers 5.20 knows no other).
        if (self.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise ValueError(
                "use_reentrant=True in the activation checkpointing settings breaks the attack, which differentiates "
                "with respect to its input; set it to False"
            )

    def _check_optimizer(self) -> None:
        name = str(getattr(self.optim, "value", self.optim))
        # They step inside the backward pass; restoring perturbed weights after it would undo the step.
        early = name in ("lomo", "adalomo") or name.endswith("_layerwise")
        if early and self.weight_perturbation != "none":
            raise ValueError(
                f"optim={name!r} steps while gradients are computed, at weights that weight_perturbation="
                f"{self.weight_perturbation!r} has moved and then puts back; use an optimizer that steps afterwards, "
                "such as adamw_torch, or weight_perturbation='none'"
            )

    def _check_lengths(self) -> None:
        """What is counted in epochs must fit into the run; the length of one in steps is known to Trainer alone."""
        if self.max_steps <= 0:
            self.check_lengths(epochs=self.num_train_epochs, run=f"num_train_epochs={self.num_train_epochs:g}")

    @property
    def _schedule(self) -> str:
        return str(getattr(self.lr_scheduler_type, "value", self.lr_scheduler_type))

    @property
    def threat(self) -> ThreatModel:
        """What the attacker may do, in training and in evaluation."""
        return ThreatModel(self.norm, float(self.epsilon))

    def attack_at(self, epoch: float, *, ramp: float = 1.0, least_steps: int = 1) -> PGD | AutoPGD:
        """The attack on training images at a point of the run.

        Args:
            epoch: epochs that have passed, which choose among the entries of ``attack_schedule``.
            ramp: share of the radius, in [0, 1], which also scales a given step size.
            least_steps: taken where the settings ask for fewer.
        """
        scheduled = self.scheduled_at(epoch)
        threat = ThreatModel(self.norm, ramp * scheduled.get("epsilon", float(self.epsilon)))
        steps = max(int(scheduled.get("attack_steps", self.attack_steps)), least_steps)
        starts: dict[str, Any] = {"random_start": self.attack_random_start, "restarts": self.attack_restarts}
        if self.attack_random_start and self.settled_objective in ("trades", "mart", "ikl"):
            starts["start_deviation"] = NEAR_START
        if self.training_attack == "apgd":
            return AutoPGD(threat, num_steps=steps, **starts)
        step_size = None if self.attack_step_size is None else ramp * self.attack_step_size
        if step_size is None and steps == 1:
            step_size = SINGLE_STEP * threat.epsilon or None
        return PGD(threat, num_steps=steps, step_size=step_size, **starts)

    @property
    def evaluation_attack(self) -> PGD:
        """The attack of ``trainer.evaluate()``; it keeps the worst iterate of all restarts."""
        return PGD(self.threat, num_steps=self.eval_attack_steps, restarts=self.eval_attack_restarts, keep="worst")

    # Trainer's own, since the one that a dataclass makes shows the Hub token.
    __repr__ = TrainingArguments.__repr__

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the Hub token: training_args.bin is pickled, and uploaded."""
        return self.__dict__ | {"hub_token": None}


def check_is_config(args: Any) -> None:
    """Refuse other arguments than an ADSRConfig, such as Trainer's own.

    Raises:
        TypeError: naming what was given.
    """
    if not isinstance(args, ADSRConfig):
        raise TypeError(
            f"args={type(args).__name__} must be an ADSRConfig, which takes every field of TrainingArguments: "
            "ADSRTrainer(model, ADSRConfig(output_dir=...), ...)"
        )
