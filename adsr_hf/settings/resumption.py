"""What may differ when a run is continued, as fields of a recipe. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from adsr_hf.settings.checks import one_of
from adsr_hf.settings.setting import setting


@dataclass
class ResumptionArguments:
    """On purpose, since a run is otherwise continued under the settings it began with.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """

    resumed_schedules: Literal["hold", "stretch"] | None = setting(
        None,
        "What the schedules that depend on the length of the run (temperature, interpolation, "
        "learning_rate_drops) do when it is continued with another number of steps: 'hold' lets them end where "
        "they would have ended and keeps their last values, 'stretch' takes the values of a run that had the new "
        "length from its beginning. Default: refused where there is such a schedule. lr_scheduler_type follows "
        "the new length in each case, as in Trainer.",
    )
    resume_with_other_batches: bool = setting(
        False,
        "Let a run be continued with another batch size or order of the images (data_seed, "
        "train_sampling_strategy, dataloader_drop_last): where in an epoch it stands, and what is counted in "
        "epochs, then follows the new batches.",
    )

    def check_resumption(self) -> None:
        """Raise ValueError where ``resumed_schedules`` is no way to continue them."""
        if self.resumed_schedules is not None:
            one_of("resumed_schedules", self.resumed_schedules, ("hold", "stretch"))
