"""Measuring a classifier, comparing two, deciding between them. Nothing heavy is imported before it is used."""

from typing import TYPE_CHECKING

from adsr_hf.settings.lazy_names import fetched

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

__getattr__ = fetched(__name__, _HOMES)
