"""The learning rate's steps, which Trainer's own schedules lack. Imports nothing heavy."""

from dataclasses import dataclass

from adsr_hf.settings.checks import is_finite
from adsr_hf.settings.setting import setting


@dataclass
class LearningRateArguments:
    """When the learning rate drops.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    learning_rate_drops: list[float] | None = setting(
        None,
        "Points of the run, as shares of its steps, at which the learning rate is divided by 10: 0.5 0.75 "
        "is the papers' schedule for ResNets (epochs 100 and 150 of 200; Rice et al. 2020). Needs "
        "lr_scheduler_type constant, and takes no warm-up.",
    )

    def check_learning_rate(self, *, schedule: str, warmup_steps: float) -> None:
        """Check every field of this class.

        Args:
            schedule: TrainingArguments' lr_scheduler_type.
            warmup_steps: TrainingArguments' own.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        drops = self.learning_rate_drops
        if not drops:
            return
        if not all(is_finite(drop) and 0 < drop < 1 for drop in drops) or sorted(set(drops)) != drops:
            raise ValueError(
                f"learning_rate_drops={drops} must be rising shares of the run, each in (0, 1), such as 0.5 0.75; "
                "divide epochs by num_train_epochs"
            )
        if schedule != "constant" or warmup_steps:
            raise ValueError(
                f"learning_rate_drops={drops} does not go with lr_scheduler_type={schedule!r} and "
                f"warmup_steps={warmup_steps:g}: both would change the learning rate; set lr_scheduler_type to "
                "'constant' and warmup_steps to 0, or leave learning_rate_drops out"
            )
