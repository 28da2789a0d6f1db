"""Where a run stands: what schedules are functions of."""

import math
from dataclasses import dataclass
from typing import Any

from transformers.trainer_utils import has_length


@dataclass(frozen=True)
class RunPosition:
    """A point of a run.

    Attributes:
        step: optimizer steps taken, at least 0.
        steps_per_epoch: at least 1; the whole run where the data have no length, which then has one epoch.
        schedule_steps: length in optimizer steps of the schedules that depend on the length of the run, at least 1.
        has_epochs: whether the data have a length.
    """

    step: int
    steps_per_epoch: int
    schedule_steps: int
    has_epochs: bool = True

    @property
    def epochs(self) -> float:
        """Epochs that have passed."""
        return self.step / self.steps_per_epoch

    @classmethod
    def find(cls, step: int, *, loader: Any, gradient_accumulation_steps: int, schedule_steps: int) -> "RunPosition":
        """The position after ``step`` optimizer steps over a loader of micro-batches; None = it is not there yet."""
        if loader is None or not has_length(loader):
            return cls(step, schedule_steps, schedule_steps, has_epochs=False)
        return cls(step, max(1, math.ceil(len(loader) / gradient_accumulation_steps)), schedule_steps)
