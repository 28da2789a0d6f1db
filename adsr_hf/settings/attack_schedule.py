"""How the training attack grows along the run: the fields of ADSRConfig for it. Imports nothing heavy."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from adsr_hf.settings.checks import at_least, in_range, one_of, radius
from adsr_hf.settings.setting import setting

_SCHEDULED = ("epsilon", "attack_steps")
_EXAMPLE = "write it as {0: {epsilon: 4/255}, 5: {epsilon: 8/255, attack_steps: 2}}"


@dataclass
class AttackScheduleArguments:
    """When the training attack has which radius and how many steps.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    epsilon_zero_share: float = setting(
        0.0,
        "Share of the run, in [0, 1), at whose beginning the training attack's radius is 0, so that a pretrained "
        "network first learns its task on clean images. With epsilon_ramp_share the hinge of Ngnawe et al. (ICLR "
        "2026, arXiv 2509.23325): fine-tuning a network that is not robust at the full radius often fails.",
    )
    epsilon_ramp_share: float = setting(
        0.0,
        "Share of the run over which the radius then grows to epsilon, as epsilon_ramp says; 0 = at once. Together "
        "with epsilon_zero_share at most 1.",
    )
    epsilon_ramp_epochs: float = setting(
        0.0,
        "The same growth from the first step, counted in epochs; not beside the shares. Transformers trained from "
        "scratch often stall at chance without it.",
    )
    epsilon_ramp: Literal["linear", "sine"] = setting(
        "linear", "Shape of that growth: 'linear', or 'sine', a half cosine that starts and ends gently."
    )
    attack_schedule: dict | str | None = setting(
        None,
        "Weaker attacks in early epochs: a mapping from the epoch at which it begins to epsilon and/or "
        "attack_steps, such as {0: {epsilon: 4/255, attack_steps: 1}, 5: {epsilon: 8/255, attack_steps: 2}}; JSON "
        "on the command line. What an entry leaves out is the field's own value.",
    )

    @property
    def has_hinge(self) -> bool:
        """Whether the radius follows shares of the run."""
        return self.epsilon_zero_share > 0 or self.epsilon_ramp_share > 0

    def check_attack_schedule(self, *, epsilon: float) -> None:
        """Check every field of this class; the length of the run is left to :meth:`check_schedule_fits`.

        Args:
            epsilon: the largest radius.

        Raises:
            ValueError: at the first field that is not allowed, or for two that contradict each other.
        """
        one_of("epsilon_ramp", self.epsilon_ramp, ("linear", "sine"))
        in_range("epsilon_ramp_epochs", self.epsilon_ramp_epochs, low=0, fix="0 trains at full epsilon throughout")
        for name in ("epsilon_zero_share", "epsilon_ramp_share"):
            in_range(name, getattr(self, name), low=0, high=1, fix="it is a share of the run, such as 0.25")
        self.attack_schedule = _checked_schedule(self.attack_schedule, epsilon)
        self._check_hinge()

    def _check_hinge(self) -> None:
        zero, ramp = self.epsilon_zero_share, self.epsilon_ramp_share
        if not self.has_hinge:
            return
        if zero == 1 or zero + ramp > 1 + 1e-9:
            raise ValueError(
                f"epsilon_zero_share={zero:g} and epsilon_ramp_share={ramp:g} are longer than the run together, so "
                "epsilon would never be reached; they are shares of it, and 0.1 and 0.5 leave 0.4 at the full radius"
            )
        if self.epsilon_ramp_epochs:
            raise ValueError(
                f"epsilon_ramp_epochs={self.epsilon_ramp_epochs:g} does not go with epsilon_zero_share={zero:g} and "
                f"epsilon_ramp_share={ramp:g}: both say how the radius grows; leave one out"
            )
        scheduled = [epoch for epoch, entry in (self._entries() or {}).items() if "epsilon" in entry]
        if scheduled:
            raise ValueError(
                f"attack_schedule sets epsilon at epoch {scheduled[0]}, and epsilon_zero_share={zero:g} with "
                f"epsilon_ramp_share={ramp:g} says otherwise; leave one out (attack_steps may be scheduled)"
            )

    def check_schedule_fits(self, *, epochs: float, run: str) -> None:
        """Refuse what is counted in epochs and is longer than the run.

        Args:
            epochs: length of the run.
            run: the same for the message, such as ``"num_train_epochs=3"``.

        Raises:
            ValueError: when the radius would never be reached, or a scheduled attack would never come.
        """
        if self.epsilon_ramp_epochs > epochs:
            raise ValueError(
                f"epsilon_ramp_epochs={self.epsilon_ramp_epochs:g} is longer than the run ({run}), so epsilon would "
                "never be reached; shorten it, train longer, or use epsilon_ramp_share"
            )
        late = [epoch for epoch in self._entries() or {} if float(epoch) >= epochs]
        if late:
            raise ValueError(
                f"attack_schedule has an entry at epoch {late[0]}, when the run has ended ({run}); leave it out, or "
                "train longer"
            )

    def scheduled_at(self, epoch: float) -> dict[str, float]:
        """What the entries of ``attack_schedule`` say after so many epochs; empty where none has begun."""
        found: dict[str, float] = {}
        for begin, entry in (self._entries() or {}).items():
            if epoch >= float(begin):
                found = entry
        return found

    def _entries(self) -> dict[str, dict[str, float]] | None:
        return self.attack_schedule if isinstance(self.attack_schedule, dict) else None


def _checked_schedule(raw: Any, epsilon: float) -> dict[str, dict[str, float]] | None:
    """The schedule with epochs as text (JSON has no other keys), in order, and radii as numbers."""
    if raw is None:
        return None
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except json.JSONDecodeError as error:
            raise ValueError(f"attack_schedule is not valid JSON: {error}; {_EXAMPLE}") from None
    if not isinstance(raw, dict) or not raw:
        raise ValueError(f"attack_schedule={raw!r} must map epochs to settings; {_EXAMPLE}")
    entries = [_checked_entry(epoch, settings, epsilon) for epoch, settings in raw.items()]
    return dict(sorted(entries, key=lambda entry: float(entry[0])))


def _checked_entry(epoch: Any, settings: Any, epsilon: float) -> tuple[str, dict[str, float]]:
    try:
        begin = float(epoch)
    except (TypeError, ValueError):
        raise ValueError(f"attack_schedule has the epoch {epoch!r}, which is no number; {_EXAMPLE}") from None
    in_range("attack_schedule's epoch", begin, low=0, fix=_EXAMPLE)
    if not isinstance(settings, dict) or not settings or set(settings) - set(_SCHEDULED):
        raise ValueError(
            f"attack_schedule has {settings!r} at epoch {epoch}; allowed are {' and '.join(_SCHEDULED)}; {_EXAMPLE}"
        )
    values: dict[str, float] = dict(settings)
    if "epsilon" in values:
        values["epsilon"] = float(radius("attack_schedule's epsilon", values["epsilon"]))
        fix = f"the largest radius is epsilon={epsilon:g}"
        in_range("attack_schedule's epsilon", values["epsilon"], low=0, high=epsilon, fix=fix)
    if "attack_steps" in values:
        at_least("attack_schedule's attack_steps", values["attack_steps"], 1, fix=_EXAMPLE)  # type: ignore[arg-type]
    return f"{begin:g}", values
