"""Robust overfitting: how much robust accuracy a run lost after its best evaluation (Rice et al. 2020)."""

from collections.abc import Iterable, Mapping
from typing import Any


def robust_overfitting(history: Iterable[Mapping[str, Any]], figure: str) -> dict[str, float] | None:
    """Best and last value of ``figure`` over a run's evaluations, and the drop between them.

    Rice, Wong & Kolter, *Overfitting in adversarially robust deep learning* (ICML 2020), section 3.

    Args:
        history: ``trainer.state.log_history``.
        figure: such as ``"eval_robust_accuracy"``.

    Returns:
        ``best``, ``best_step``, ``last``, ``last_step`` and ``gap`` (best − last), or None if never measured.

    Example:
        >>> history = [{"step": 10, "eval_robust_accuracy": 0.5}, {"step": 20, "eval_robust_accuracy": 0.25}]
        >>> robust_overfitting(history, "eval_robust_accuracy")["gap"]
        0.25
    """
    measured = {int(entry["step"]): float(entry[figure]) for entry in history if figure in entry}
    if not measured:
        return None
    best_step = max(measured, key=lambda step: (measured[step], -step))
    last_step = max(measured)
    best, last = measured[best_step], measured[last_step]
    return {"best": best, "best_step": best_step, "last": last, "last_step": last_step, "gap": best - last}


def robust_overfitting_of_networks(history: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """:func:`robust_overfitting` of ``student`` and ``teacher``, without the one that was never measured."""
    entries = list(history)
    figures = {"student": "eval_robust_accuracy", "teacher": "eval_teacher_robust_accuracy"}
    found = {name: robust_overfitting(entries, figure) for name, figure in figures.items()}
    return {name: drop for name, drop in found.items() if drop is not None}
