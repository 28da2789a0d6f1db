"""`evaluate` metrics, which work offline: by class, or by ``evaluate.load`` with the path of one of these folders.

Imported on first use, since `evaluate` and torch take seconds to load.
"""

from typing import TYPE_CHECKING

from adsr_hf.settings.lazy_names import fetched

if TYPE_CHECKING:
    from adsr_hf.metrics.brier_score.brier_score import BrierScore
    from adsr_hf.metrics.classwise_calibration_error.classwise_calibration_error import ClasswiseCalibrationError
    from adsr_hf.metrics.expected_calibration_error.expected_calibration_error import ExpectedCalibrationError
    from adsr_hf.metrics.flip_rate.flip_rate import FlipRate
    from adsr_hf.metrics.negative_log_likelihood.negative_log_likelihood import NegativeLogLikelihood
    from adsr_hf.metrics.output_stability.output_stability import OutputStability
    from adsr_hf.metrics.robust_accuracy.robust_accuracy import RobustAccuracy

__all__ = [
    "BrierScore",
    "ClasswiseCalibrationError",
    "ExpectedCalibrationError",
    "FlipRate",
    "NegativeLogLikelihood",
    "OutputStability",
    "RobustAccuracy",
]

_MODULES = {
    "BrierScore": "adsr_hf.metrics.brier_score.brier_score",
    "ClasswiseCalibrationError": "adsr_hf.metrics.classwise_calibration_error.classwise_calibration_error",
    "ExpectedCalibrationError": "adsr_hf.metrics.expected_calibration_error.expected_calibration_error",
    "FlipRate": "adsr_hf.metrics.flip_rate.flip_rate",
    "NegativeLogLikelihood": "adsr_hf.metrics.negative_log_likelihood.negative_log_likelihood",
    "OutputStability": "adsr_hf.metrics.output_stability.output_stability",
    "RobustAccuracy": "adsr_hf.metrics.robust_accuracy.robust_accuracy",
}

__getattr__ = fetched(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
