"""Which of a run's logged figures are those of the weights that are published."""

from collections.abc import Mapping
from typing import Any

from transformers import TrainerState

from adsr_hf.measures.figures import MeasuredLogits
from adsr_hf.publishing.card_facts import Measurement, measurements


class PublishedFigures:
    """Follows a run: its steps, the return to its best weights, and the calibration of its head."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A run begins; what was said about earlier weights is void."""
        self._restored_at: int | None = None
        self._calibrated_at: int | None = None
        self._after_calibration: Measurement | None = None

    def best_was_restored(self, state: TrainerState) -> None:
        """The run went back to its best weights."""
        self._restored_at = len(state.log_history)

    def head_was_calibrated(self, state: TrainerState, split: str, measured: MeasuredLogits) -> None:
        """The head was scaled, and measured afterwards on ``split``."""
        self._calibrated_at = len(state.log_history)
        self._after_calibration = Measurement(split, len(measured.labels), measured.figures())

    @property
    def is_best(self) -> bool:
        """Whether the weights are those of the best evaluation."""
        return self._restored_at is not None

    @property
    def is_calibrated(self) -> bool:
        """Whether the head was scaled since the run began."""
        return self._calibrated_at is not None

    def step(self, state: TrainerState) -> int:
        """Optimizer steps behind the weights."""
        best = state.best_global_step if self.is_best else None
        return int(state.global_step if best is None else best)

    def of(self, state: TrainerState, prefix: str) -> tuple[Measurement, ...]:
        """The figures in the log that are of these weights; ``prefix`` is before the names of the network's."""
        history: list[Mapping[str, Any]] = state.log_history
        if self._calibrated_at is not None and self._after_calibration is not None:
            # Earlier figures are those of the head before it was scaled.
            found = measurements(history[self._calibrated_at :], step=state.global_step, prefix=prefix)
            return found or (self._after_calibration,)
        # Trainer keeps counting the last step when it has gone back to the best weights.
        now = measurements(history[self._restored_at or 0 :], step=state.global_step, prefix=prefix)
        return now or measurements(history, step=self.step(state), prefix=prefix)
