"""What a model card states: plain values, and the figures that a log really holds."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from adsr_hf.measures.statistics import wilson_interval

FIGURES = ("accuracy", "robust_accuracy", "ece", "robust_ece", "mean_confidence", "robust_mean_confidence")

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MEASURED = re.compile(r"((?:test|eval)(?:_.+)?)_images")
_SPLITS = {"eval": "validation"}


@dataclass(frozen=True)
class DataDescription:
    """What a model was trained and measured on, in words that may be published: no local paths.

    Attributes:
        name: what people call it.
        summary: sizes and kinds, in one line.
        hub_name: ``owner/name`` if it is on the Hub.
        config: which of its configurations.
    """

    name: str
    summary: str = ""
    hub_name: str | None = None
    config: str | None = None


@dataclass(frozen=True)
class EvaluationAttack:
    """The attack behind the robust figures: PGD with random starts, the worst iterate kept for each image.

    Attributes:
        threat: such as ``"Linf 8/255"``.
        steps, restarts: strength, each at least 1.
        step_size: in [0, 1] pixel units.
    """

    threat: str
    steps: int
    restarts: int
    step_size: float

    def __str__(self) -> str:
        return f"{self.threat}, PGD-{self.steps} × {self.restarts} restart{'s' if self.restarts > 1 else ''}"


@dataclass(frozen=True)
class Measurement:
    """Figures of the published weights on one set of images.

    Attributes:
        split: such as ``"test"`` or ``"validation"``.
        images: how many images it holds.
        figures: those of FIGURES that were measured, as shares in [0, 1].
    """

    split: str
    images: int
    figures: Mapping[str, float]

    def interval(self, figure: str) -> tuple[float, float]:
        """Wilson's 95% interval of an accuracy: (low, high)."""
        return wilson_interval(round(self.figures[figure] * self.images), self.images)


@dataclass(frozen=True)
class CalibrationFacts:
    """The temperature that is folded into the head.

    Attributes:
        temperature: by which the trained logits are divided.
        fitted_on: ``"clean"``, ``"adversarial"`` or ``"mixed"`` validation images.
        images: how many.
        share: weight of the adversarial images' loss in the fit, in [0, 1].
        before, after: split to ``ece`` and, where measured, ``robust_ece``, each in [0, 1].
    """

    temperature: float
    fitted_on: str
    images: int
    share: float
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[str, Mapping[str, float]]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "CalibrationFacts":
        """From what ``trainer.calibrate()`` returned, or a model's config holds."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class CardFacts:
    """Everything that a card states.

    Attributes:
        name: title of the card.
        repository: what ``from_pretrained`` takes: the Hub name, else the folder's.
        architecture, parameters, classes: class name, number of parameters, number of labels of the network.
        weights: ``"student"`` or ``"teacher"`` (its moving average).
        method: one sentence.
        attacks: whether training images were attacked.
        threat: the threat model, such as ``"Linf 8/255"``.
        settings: the recipe, name to value.
        attack: behind the robust figures; None = no such figures are measured.
        measurements: empty = nothing was measured on these weights.
        selected: whether the checkpoint was chosen by its figures on the validation images.
        step, total_steps: optimizer steps that the weights have seen, and that the run was to take.
        data: None = nobody described it.
        versions: package to version.
        base_model: Hub name of the checkpoint that training started from.
        own_network: whether transformers knows the architecture only once ``adsr_hf.networks`` is imported.
        calibration: None = no temperature was folded into the head.
        license, languages, tags: metadata as given by the user.
    """

    name: str
    repository: str
    architecture: str
    parameters: int
    classes: int
    weights: str
    method: str
    attacks: bool
    threat: str
    settings: Mapping[str, str]
    attack: EvaluationAttack | None
    measurements: tuple[Measurement, ...]
    selected: bool
    step: int
    total_steps: int
    versions: Mapping[str, str]
    data: DataDescription | None = None
    base_model: str | None = None
    own_network: bool = False
    calibration: CalibrationFacts | None = None
    license: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def hub_name(text: str) -> str | None:
    """``text`` if it can only be a name on the Hub, ``owner/name``: local paths are nobody else's business."""
    return text if _HUB_NAME.fullmatch(text) and not Path(text).exists() else None


def measurements(history: Iterable[Mapping[str, Any]], *, step: int, prefix: str) -> tuple[Measurement, ...]:
    """The last figures of one network that a log holds for one optimizer step.

    Args:
        history: ``trainer.state.log_history``.
        step: figures of other steps belong to other weights and are passed over.
        prefix: ``""`` for the student, ``"teacher_"`` for the teacher.

    Returns:
        One entry for each test set, or, where none was measured, for each validation set.
    """
    latest: dict[str, Mapping[str, Any]] = {}
    for entry in history:
        if entry.get("step") == step:
            matches = [_MEASURED.fullmatch(name) for name in entry]
            latest |= {match[1]: entry for match in matches if match}
    found = {}
    for split, entry in latest.items():
        values = {name: entry.get(f"{split}_{prefix}{name}") for name in FIGURES}
        # A user's own metric of the same name, in percent say, would be misread.
        shares = {name: float(value) for name, value in values.items() if value is not None and 0 <= value <= 1}
        if "accuracy" in shares:
            name = _SPLITS.get(split, split.removeprefix("eval_"))
            found[split] = Measurement(name, int(entry[f"{split}_images"]), shares)
    tests = {split: entry for split, entry in found.items() if split.startswith("test")}
    return tuple((tests or found).values())
