"""Says in time that a run leads nowhere: from its own evaluations, with what to change."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from transformers import TrainerCallback
from transformers.utils import logging

from adsr_hf.config import ADSRConfig
from adsr_hf.measures.statistics import wilson_interval
from adsr_hf.settings.selection import measured_prefix

logger = logging.get_logger(__name__)

# Before this share of a run nothing is judged: a learning rate that warms up has hardly moved a weight.
_EARLIEST = 0.25
_ADVICE = {
    "one class": "look at labels and normalisation; else lower learning_rate, or hold the radius at 0 for longer "
    "(epsilon_zero_share)",
    "behind probe": "hold the radius at 0 for longer (epsilon_zero_share) and raise it more slowly "
    "(epsilon_ramp_share), lower learning_rate or layer_decay, or use objective='trades' with trades_beta=1",
    "not robust": "look at attack_success and zero_gradient_share in the log; else train longer at the full radius "
    "(shorter epsilon_zero_share and epsilon_ramp_share), raise trades_beta, or choose a smaller epsilon",
}


@dataclass(frozen=True)
class Hopeless:
    """Why a run leads nowhere.

    Attributes:
        kind: ``"one class"``, ``"behind probe"`` or ``"not robust"``.
        step: of the evaluation that showed it.
        accuracy: that was found there, in [0, 1]: under attack for ``"not robust"``, clean otherwise.
        reference: what it is no better than, in [0, 1]: the probe's accuracy, or the share of the most frequent class.
        images: that both were measured on.
    """

    kind: str
    step: int
    accuracy: float
    reference: float
    images: int

    def __str__(self) -> str:
        found, reference = f"{100 * self.accuracy:.1f}%", f"{100 * self.reference:.1f}%"
        what = {
            "one class": f"clean accuracy is {found}, and a model that always names the most frequent class reaches "
            f"{reference}",
            "behind probe": f"clean accuracy is {found}, below the {reference} that a linear classifier on the frozen "
            "checkpoint reaches: adaptation to the task has been stopped",
            "not robust": f"accuracy under attack is {found} though the radius is full, no better than always naming "
            f"the most frequent class ({reference})",
        }[self.kind]
        return f"step {self.step}: {what}; {_ADVICE[self.kind]}"


class RunHealth(TrainerCallback):
    """Looks at each evaluation of the weights that are published, and warns once of each kind.

    Nothing is judged before a quarter of the run, nor while the radius still grows; accuracies are compared by
    Wilson's 95% interval.

    Attributes:
        found: what was said, in order.

    Args:
        args: the run's settings.
        images: number of validation images.
        majority: share of the most frequent class among them.
        probe: accuracy of a linear probe on the checkpoint; None where there is none.
        stop: end the run at the first warning.
        say: gets each warning.
    """

    def __init__(
        self,
        args: ADSRConfig,
        *,
        images: int,
        majority: float,
        probe: float | None,
        stop: bool,
        say: Callable[[str], None] = logger.warning,
    ) -> None:
        self._images, self._majority, self._probe, self._stop, self._say = images, majority, probe, stop, say
        self._prefix = f"eval_{measured_prefix(args)}"
        self._judged_from = max(_EARLIEST, args.epsilon_zero_share + args.epsilon_ramp_share if args.attacks else 0.0)
        self._ramp_epochs = args.epsilon_ramp_epochs if args.attacks else 0.0
        self._attacks = args.attacks
        self.found: list[Hopeless] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        # 0.2 + 0.4 is more than 0.6 to a computer.
        if state.global_step < self._judged_from * state.max_steps - 1e-6 or (state.epoch or 0) < self._ramp_epochs:
            return
        for hopeless in self._judge(metrics or {}, state.global_step):
            if hopeless.kind in {former.kind for former in self.found}:
                continue
            self.found.append(hopeless)
            if state.is_world_process_zero:
                self._say(f"{hopeless}{'; the run ends here, since stop_hopeless is on' if self._stop else ''}")
            control.should_training_stop = control.should_training_stop or self._stop

    def _judge(self, metrics: dict[str, float], step: int) -> list[Hopeless]:
        clean, attacked = metrics.get(f"{self._prefix}accuracy"), metrics.get(f"{self._prefix}robust_accuracy")
        found = []
        if clean is not None and self._interval(clean)[0] <= self._majority:
            found.append(Hopeless("one class", step, clean, self._majority, self._images))
        elif clean is not None and self._probe is not None and self._interval(clean)[1] < self._probe:
            found.append(Hopeless("behind probe", step, clean, self._probe, self._images))
        if self._attacks and attacked is not None and self._interval(attacked)[0] <= self._majority and not found:
            found.append(Hopeless("not robust", step, attacked, self._majority, self._images))
        return found

    def _interval(self, accuracy: float) -> tuple[float, float]:
        return wilson_interval(round(accuracy * self._images), self._images)

    def record(self) -> list[dict[str, Any]]:
        """What was found, as JSON values."""
        return [asdict(hopeless) for hopeless in self.found]
