"""The operating rule, read from YAML: what a candidate must gain, and what it may lose."""

import difflib
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

ALL = "all"


@dataclass(frozen=True)
class Policy:
    """When a candidate replaces the current model.

    Figures are named as in a summary; ``*`` stands for any text (``"*/robust_accuracy"``). Gains and losses are in the
    figure's own unit (0.01 is one point of accuracy), and a gain of an error such as ``ece`` is that it falls.

    Args:
        minimum_images: with fewer test images nothing is decided.
        minimum_gain: figure to the least gain; decided on the ends of the 95% interval.
        maximum_loss: figure to the largest loss that is accepted.
        sanity: verdicts of the candidate that must pass: their names, or ``"all"`` that were applicable.
        maximum_latency_ratio: how much slower inference may become; None leaves it open.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """

    minimum_images: int = 1
    minimum_gain: dict[str, float] = field(default_factory=dict)
    maximum_loss: dict[str, float] = field(default_factory=dict)
    sanity: list[str] | str = field(default_factory=list)
    maximum_latency_ratio: float | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.minimum_images) or self.minimum_images < 1 or self.minimum_images % 1:
            raise ValueError(f"minimum_images={self.minimum_images!r} must be a whole number of at least 1")
        for name in ("minimum_gain", "maximum_loss"):
            rules = getattr(self, name)
            if not isinstance(rules, dict):
                raise ValueError(f"{name}={rules!r} must map figures to numbers, such as accuracy: 0.01")
            for figure, bound in rules.items():
                if not isinstance(figure, str):
                    raise ValueError(f"{name} has the key {figure!r}, which is no figure's name; write accuracy: 0.01")
                if not _is_number(bound) or (name == "maximum_loss" and bound < 0):
                    raise ValueError(
                        f"{name} of {figure} is {bound!r}, but must be a finite number; 0.01 is one point"
                    )
        listed = isinstance(self.sanity, list) and all(isinstance(one, str) for one in self.sanity)
        if self.sanity != ALL and not listed:
            raise ValueError(f"sanity={self.sanity!r} must be 'all' or a list of verdicts' names")
        ratio = self.maximum_latency_ratio
        if ratio is not None and (not _is_number(ratio) or ratio <= 0):
            raise ValueError(f"maximum_latency_ratio={ratio!r} must be above 0, such as 1.05")
        if not (self.minimum_gain or self.maximum_loss or self.sanity or ratio):
            raise ValueError("the policy has no rule, so that anything would pass; give at least one")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        ValueError: when it is missing, no YAML mapping, or has an unknown rule (with the nearest valid name).
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"policy {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"policy {path} must map rules to values; see recipes/gates/default.yaml")
    known = [one.name for one in fields(Policy)]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"policy {path} has the unknown rule {key!r}; {hint}rules are {', '.join(known)}")
    return Policy(**content)
