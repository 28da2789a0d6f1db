"""Settings that go together, under one name. What is written beside a preset wins. Imports nothing heavy."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from adsr_hf.settings.checks import one_of

Settings = TypeVar("Settings")

PRESETS: dict[str, dict[str, Any]] = {
    "fine_tune": {
        "method": "trades",
        "trades_beta": 1.0,
        "epsilon_zero_share": 0.1,
        "epsilon_ramp_share": 0.5,
        "layer_decay": 0.75,
        "warmup_steps": 0.1,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 1.0,
        "teacher_memory": 0.03,
        "labels_follow": "teacher",
        "temperature_start": 1.0,
        "temperature_end": 1.0,
        "calibrate": "mixed",
    },
}

# Each of these says what the others of its line say: one that is written takes the place of all of a preset's.
_ALTERNATIVES = (
    ("method", "objective", "labels", "label_smoothing_factor"),
    ("epsilon_zero_share", "epsilon_ramp_share", "epsilon_ramp_epochs", "attack_schedule"),
    ("teacher_memory", "teacher_decay"),
    ("temperature_start", "temperature_end"),
    ("lr_scheduler_type", "warmup_steps", "learning_rate_drops"),
)
# Any of the first two alone leaves the other one its meaning.
_TOGETHER = frozenset({"epsilon_zero_share", "epsilon_ramp_share", "temperature_start", "temperature_end"})
_TOGETHER |= {"lr_scheduler_type", "warmup_steps"}


def with_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of the preset that they name beneath them.

    Args:
        given: field names to values, as somebody wrote them.

    Raises:
        ValueError: for a preset that does not exist.

    Example:
        >>> settings = with_preset({"preset": "fine_tune", "epsilon_ramp_epochs": 3})
        >>> "epsilon_ramp_share" in settings, settings["calibrate"]
        (False, 'mixed')
    """
    name = given.get("preset")
    if name is None:
        return dict(given)
    one_of("preset", name, tuple(PRESETS))
    beneath = {field: value for field, value in PRESETS[name].items() if not _is_replaced(field, given)}
    return beneath | dict(given)


def _is_replaced(field: str, given: Mapping[str, Any]) -> bool:
    others = next((line for line in _ALTERNATIVES if field in line), (field,))
    written = [other for other in others if other in given]
    return any(other not in _TOGETHER or field not in _TOGETHER for other in written if other != field)


def takes_preset(kind: type[Settings]) -> type[Settings]:
    """Let a dataclass with a field ``preset`` fill in what its caller leaves out, before it is built.

    A copy of such an object, or one made from all of its fields, is what it was: every field is written there.
    """
    generated: Callable[..., None] = kind.__init__
    signature = inspect.signature(generated)

    @functools.wraps(generated)
    def build(self: Any, *args: Any, **settings: Any) -> None:
        given = signature.bind_partial(self, *args, **settings).arguments
        positional = dict(list(given.items())[1 : 1 + len(args)])
        filled = with_preset({name: value for name, value in given.items() if name != "self"})
        generated(self, *args, **{name: value for name, value in filled.items() if name not in positional})

    kind.__init__ = build  # type: ignore[method-assign]
    return kind
