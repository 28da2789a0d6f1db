"""Figures as pure functions: one definition each, wherever it is printed."""

from typing import TYPE_CHECKING

from adsr_hf.settings.lazy_names import fetched

if TYPE_CHECKING:
    from adsr_hf.measures.calibration import (
        brier_score,
        classwise_calibration_error,
        expected_calibration_error,
        mean_confidence,
        negative_log_likelihood,
        reliability_bins,
    )
    from adsr_hf.measures.figures import prediction_figures, worst_case_logits
    from adsr_hf.measures.overfitting import robust_overfitting
    from adsr_hf.measures.statistics import holm, mcnemar_exact, wilson_interval
    from adsr_hf.measures.temperature import fit_temperature

# Imported on first use, since most of them need torch.
_HOMES = {
    "brier_score": "adsr_hf.measures.calibration",
    "classwise_calibration_error": "adsr_hf.measures.calibration",
    "expected_calibration_error": "adsr_hf.measures.calibration",
    "fit_temperature": "adsr_hf.measures.temperature",
    "holm": "adsr_hf.measures.statistics",
    "mcnemar_exact": "adsr_hf.measures.statistics",
    "mean_confidence": "adsr_hf.measures.calibration",
    "negative_log_likelihood": "adsr_hf.measures.calibration",
    "prediction_figures": "adsr_hf.measures.figures",
    "reliability_bins": "adsr_hf.measures.calibration",
    "robust_overfitting": "adsr_hf.measures.overfitting",
    "wilson_interval": "adsr_hf.measures.statistics",
    "worst_case_logits": "adsr_hf.measures.figures",
}

__all__ = [
    "brier_score",
    "classwise_calibration_error",
    "expected_calibration_error",
    "fit_temperature",
    "holm",
    "mcnemar_exact",
    "mean_confidence",
    "negative_log_likelihood",
    "prediction_figures",
    "reliability_bins",
    "robust_overfitting",
    "wilson_interval",
    "worst_case_logits",
]

__getattr__ = fetched(__name__, _HOMES)
