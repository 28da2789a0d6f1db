"""Measuring a classifier, comparing two, deciding between them. Nothing heavy is imported before it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adsr_hf.decision.compare import compare
    from adsr_hf.decision.gate import decide
    from adsr_hf.evaluation.plan import Plan
    from adsr_hf.evaluation.records import EvaluationRecords
    from adsr_hf.evaluation.suite import evaluate

_HOMES = {
    "EvaluationRecords": "adsr_hf.evaluation.records",
    "Plan": "adsr_hf.evaluation.plan",
    "compare": "adsr_hf.decision.compare",
    "decide": "adsr_hf.decision.gate",
    "evaluate": "adsr_hf.evaluation.suite",
}

__all__ = ["EvaluationRecords", "Plan", "compare", "decide", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
