"""Which figure chooses among a run's checkpoints: its default, what is measured at all, and what a run inherits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.method import METHODS, MethodArguments

FIGURE, DIRECTION = "metric_for_best_model", "greater_is_better"

_KINDS = ("accuracy", "ece", "mean_confidence", "loss")
_PREFIXES = ("", "robust_", "teacher_", "teacher_robust_")
_OWN_FIGURES = frozenset(f"{prefix}{kind}" for prefix in _PREFIXES for kind in _KINDS)


class DefaultFigure(str):
    """A figure that nobody wrote: a copy of its settings with another method gets that method's own."""


@dataclass(frozen=True)
class Layer:
    """Settings from one place: a recipe, a study's arm, the command line.

    Attributes:
        where: the place, for messages.
        settings: field names to values; None takes a field back to its default.
    """

    where: str
    settings: Mapping[str, Any]


def measured_prefix(arguments: MethodArguments) -> str:
    """What the published weights' figures begin with; the other network's where only that is measured."""
    wanted = arguments.publish if arguments.evaluate_weights == "both" else arguments.evaluate_weights
    return "teacher_" if wanted == "teacher" else ""


def default_figure(arguments: MethodArguments) -> str:
    """The published weights' accuracy: under attack if they are trained against one, and clean otherwise.

    A network that was never attacked is at its most robust when it has hardly begun to learn. Adversarial training
    whose evaluations do not attack is judged by its loss.
    """
    figure = "accuracy"
    if arguments.attacks:
        figure = "robust_accuracy" if arguments.eval_attack_steps > 0 else "loss"
    return f"{measured_prefix(arguments)}{figure}"


def check_figure(figure: str, arguments: MethodArguments) -> None:
    """Refuse one of this package's figures that the run's evaluations will not hold.

    Args:
        figure: with or without ``eval_`` before it. Names that are not this package's own pass.

    Raises:
        ValueError: saying why it is not measured.
    """
    name = figure.removeprefix("eval_")
    if name not in _OWN_FIGURES:
        return
    if name.startswith("teacher_"):
        if not arguments.keeps_teacher:
            raise ValueError(
                f"{FIGURE}={figure!r} but method={arguments.method!r} with publish='student' keeps no teacher; use "
                f"{name.removeprefix('teacher_')!r}, or publish='teacher'"
            )
        if arguments.evaluate_weights == "student":
            raise ValueError(
                f"{FIGURE}={figure!r} is not measured with evaluate_weights='student'; use 'both' or 'teacher' there, "
                f"or {name.removeprefix('teacher_')!r} here"
            )
    elif arguments.evaluate_weights == "teacher":
        raise ValueError(
            f"{FIGURE}={figure!r} is not measured with evaluate_weights='teacher'; use 'teacher_{name}' here, or "
            "'both' there"
        )
    if "robust_" in name and arguments.eval_attack_steps == 0:
        raise ValueError(
            f"{FIGURE}={figure!r} needs the evaluation attack, but eval_attack_steps=0 switches it off; set it to 10 "
            f"or more, or use {name.replace('robust_', '')!r}"
        )


def refuse_unknown_figure(figure: str) -> None:
    """Refuse a name that no evaluation of ``adsr train`` holds; one of a Trainer's own metrics may have any name.

    Raises:
        UsageError: before a run would end at its first evaluation.
    """
    if figure.removeprefix("eval_") not in _OWN_FIGURES:
        raise UsageError(
            f"{FIGURE}={figure!r} is not a figure of adsr train's evaluations; choose one of {', '.join(_KINDS)}, or "
            "one of these with robust_, teacher_ or teacher_robust_ before it"
        )


def figure_of(figure: str, metrics: Mapping[str, float]) -> float:
    """One figure of an evaluation, found as Trainer finds ``metric_for_best_model``.

    Raises:
        ValueError: when the evaluation holds none of this name.
    """
    name = figure if figure.startswith("eval_") else f"eval_{figure}"
    if name not in metrics:
        raise ValueError(
            f"{FIGURE}={figure!r} is not among the figures of the evaluation: {', '.join(sorted(metrics))}; name one "
            "of them, or pass your own compute_objective"
        )
    return metrics[name]


def search_objective(arguments: Any, objective: Any, direction: str | list[str] | None) -> dict[str, Any]:
    """``compute_objective`` and ``direction`` of a hyperparameter search: as given, or for the figure that chooses.

    Args:
        arguments: the run's settings.
        objective: from the figures of an evaluation to a number, or None.
        direction: with an objective of one's own ``"minimize"`` by default.

    Raises:
        ValueError: see :func:`search_direction`.
    """
    if objective is not None:
        return {"compute_objective": objective, "direction": direction or "minimize"}
    figure = arguments.metric_for_best_model or default_figure(arguments)
    return {
        "compute_objective": partial(figure_of, figure),
        "direction": search_direction(arguments, figure, direction),
    }


def search_direction(arguments: Any, figure: str, given: str | list[str] | None) -> str:
    """``"maximize"`` or ``"minimize"``, as ``greater_is_better`` or the figure's name says.

    Raises:
        ValueError: when another direction is given, or one for each of several objectives.
    """
    greater = arguments.greater_is_better
    if greater is None:
        greater = not figure.endswith(("loss", "ece"))
    direction = "maximize" if greater else "minimize"
    if given not in (None, direction):
        raise ValueError(
            f"direction={given!r} does not go with {FIGURE}={figure!r}, which is the objective and is to be "
            f"{direction}d; leave direction out, or pass your own compute_objective"
        )
    return direction


def merged_layers(layers: Sequence[Layer]) -> tuple[dict[str, Any], list[str]]:
    """Settings of one run, later layers first, without a selection that was written for another method.

    A robust figure chooses for a method that is not attacked only where the last layer, which is this run's own, says
    so, or the first, a recipe, whose method is not attacked either. A teacher's figure that is inherited by a method
    without one becomes the student's. A direction goes with the figure that it was written for.

    Args:
        layers: from the most general (a recipe) to what is said for this run alone (its flags, or a study's arm).

    Returns:
        the settings, and a line for each that was not inherited.

    Raises:
        UsageError: when a layer names a method whose objective or labels an earlier layer would override.
    """
    merged = {name: value for layer in layers for name, value in layer.settings.items()}
    _refuse_overridden_method(layers, merged)
    notes = []
    given = merged.get(FIGURE)
    if given is not None and (written := _last(layers, FIGURE)) < len(layers) - 1:
        figure = _inherited(str(given), merged, recipe=layers[0].settings, of_recipe=written == 0)
        if figure != given:
            merged[FIGURE] = figure
            chosen = "the method's default" if figure is None else repr(figure)
            notes.append(f"{FIGURE}: {chosen}, not {given!r} of {layers[written].where}, written for another method")
    if merged.get(DIRECTION) is not None and _last(layers, DIRECTION) < len(layers) - 1:
        replaced = given is not None and merged[FIGURE] is None
        if replaced or _last(layers, DIRECTION) < _last(layers, FIGURE):
            merged[DIRECTION] = None
    return merged, notes


def _inherited(figure: str, merged: Mapping[str, Any], *, recipe: Mapping[str, Any], of_recipe: bool) -> str | None:
    """The figure that the run inherits; None for the method's default."""
    if "robust_" in figure and not _attacks(merged) and not (of_recipe and not _attacks(recipe)):
        return None
    return figure if _keeps_teacher(merged) else figure.replace("teacher_", "", 1)


def _refuse_overridden_method(layers: Sequence[Layer], merged: Mapping[str, Any]) -> None:
    method = merged.get("method")
    if method not in METHODS:
        return
    named = _last(layers, "method")
    for name, of_method in zip(("objective", "labels"), METHODS[method], strict=True):
        value = merged.get(name)
        if value is not None and value != of_method and _last(layers, name) < named:
            raise UsageError(
                f"method={method!r} of {layers[named].where} would be trained with {name}={value!r} of "
                f"{layers[_last(layers, name)].where}, which wins over it; give {name} beside the method: "
                f"{of_method!r}, or {value!r} again"
            )


def _last(layers: Sequence[Layer], name: str) -> int:
    """Index of the last layer that sets the field; -1 where none does."""
    return max((index for index, layer in enumerate(layers) if name in layer.settings), default=-1)


def _attacks(settings: Mapping[str, Any]) -> bool:
    return _pair(settings)[0] != "clean"


def _keeps_teacher(settings: Mapping[str, Any]) -> bool:
    of_method = _pair(settings)[1] == "adsr" and settings.get("fixed_teacher") is None
    return of_method or settings.get("publish") == "teacher"


def _pair(settings: Mapping[str, Any]) -> tuple[str, str]:
    """Objective and labels; what is not allowed in these fields is refused where it is converted."""
    objective, labels = METHODS.get(settings.get("method") or MethodArguments.method, METHODS["adsr"])
    return settings.get("objective") or objective, settings.get("labels") or labels
