"""The operating rule, read from YAML: what a candidate must gain, and what it may lose."""

import difflib
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeGuard

from adsr_hf.evaluation.figure_names import figure_kind
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.yaml_files import read_settings

ALL = "all"
# A figure can change by less than this; shares, and errors of shares, by less than 1.
_LARGEST_CHANGES = {"brier_score": 2.0, "training_images_per_second": math.inf}
_SLOWEST = 10


@dataclass(frozen=True)
class Policy:
    """When a candidate replaces the current model.

    Figures are named as in a summary; ``*`` stands for any text (``"*/robust_accuracy"``). Gains and losses are in the
    figure's own unit (0.01 is one point of accuracy), and a gain of an error such as ``ece`` is that it falls.

    Args:
        minimum_images: with fewer test images nothing is decided.
        minimum_gain: figure to the least gain; decided on the ends of the 95% interval.
        maximum_loss: figure to the largest loss that is accepted. A pattern for every class
            (``"class_accuracy/*"``) keeps back a candidate of which a class is shown to lose more, after correction
            for the number of classes; one class by its name is a figure like any other, and must be shown not to.
        beats_majority: whether the candidate's accuracy must be shown to lie above the share of the most frequent
            class, which a model reaches that always says that class.
        sanity: verdicts of the candidate that must pass: their names, or ``"all"`` that were applicable.
        maximum_latency_ratio: how much slower inference may become; None leaves it open.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """

    minimum_images: int = 1
    minimum_gain: dict[str, float] = field(default_factory=dict)
    maximum_loss: dict[str, float] = field(default_factory=dict)
    beats_majority: bool = True
    sanity: list[str] | str = field(default_factory=list)
    maximum_latency_ratio: float | None = None

    def __post_init__(self) -> None:
        if type(self.minimum_images) is not int or self.minimum_images < 1:
            raise ValueError(f"minimum_images={self.minimum_images!r} must be a whole number of at least 1")
        for name in ("minimum_gain", "maximum_loss"):
            rules = getattr(self, name)
            if not isinstance(rules, dict):
                raise ValueError(f"{name}={rules!r} must map figures to numbers, such as accuracy: 0.01")
            for figure, bound in rules.items():
                if not isinstance(figure, str):
                    raise ValueError(f"{name} has the key {figure!r}, which is no figure's name; write accuracy: 0.01")
                _check_bound(name, figure, bound)
        if not isinstance(self.beats_majority, bool):
            raise ValueError(f"beats_majority={self.beats_majority!r} must be true or false")
        listed = isinstance(self.sanity, list) and all(isinstance(check, str) for check in self.sanity)
        if self.sanity != ALL and not listed:
            raise ValueError(f"sanity={self.sanity!r} must be 'all' or a list of verdicts' names")
        ratio = self.maximum_latency_ratio
        if ratio is not None and (not _is_number(ratio) or not 0 < ratio <= _SLOWEST):
            raise ValueError(
                f"maximum_latency_ratio={ratio!r} must be a number above 0 and at most {_SLOWEST}; 1.05 allows 5 "
                "percent more time"
            )
        if not (self.minimum_gain or self.maximum_loss or self.sanity or ratio):
            raise ValueError("the policy has no rule, so that anything would pass; give at least one")


def _check_bound(rule: str, figure: str, bound: object) -> None:
    largest = _LARGEST_CHANGES.get(figure_kind(figure), 1.0)
    if not _is_number(bound):
        raise ValueError(f"{rule} of {figure} is {bound!r}, but must be a finite number; 0.01 is one point")
    if (bound < 0 and rule == "maximum_loss") or abs(bound) >= largest:
        allowed = f"in [0, {largest:g})" if rule == "maximum_loss" else f"in ({-largest:g}, {largest:g})"
        hint = f"write {bound / 100:g} for {bound:g} points" if 1 <= abs(bound) < 100 else "0.01 is one point"
        raise ValueError(f"{rule} of {figure} is {bound!r}, but must be {allowed}; {hint}")


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float) and abs(value) < math.inf  # type: ignore[arg-type]


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        ValueError: when it is missing, no YAML mapping, gives a key twice, or has an unknown rule (with the nearest
            valid name).
    """
    try:
        content = read_settings(path, kind="policy", example="recipes/gates/default.yaml")
    except UsageError as error:
        raise ValueError(str(error)) from error
    known = [field.name for field in fields(Policy)]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"policy {path} has the unknown rule {key!r}; {hint}rules are {', '.join(known)}")
    try:
        return Policy(**content)
    except ValueError as error:
        raise ValueError(f"policy {path}: {error}") from error
