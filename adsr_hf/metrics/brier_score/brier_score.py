"""Brier score: the mean squared distance between predicted probabilities and one-hot labels.

Summed over the classes, so that it runs from 0 to 2 (Brier 1950).
"""

from typing import Any

from adsr_hf.measures import calibration
from adsr_hf.metrics import frame

_INPUTS = """
Inputs:
    probabilities (list of list of float): one row for each image, one column for each class; rows sum to 1.
    references (list of int): true classes.
Returns:
    brier_score (float): in [0, 2]; lower is better.
"""

_CITATION = """
@article{brier1950verification,
  title={Verification of Forecasts Expressed in Terms of Probability},
  author={Brier, Glenn W.},
  journal={Monthly Weather Review},
  year={1950}
}
"""


class BrierScore(frame.FramedMetric):
    """Mean squared distance between probabilities and one-hot labels; see the card."""

    inputs, citation = _INPUTS, _CITATION
    reference = "https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
    columns = frame.columns(probabilities=frame.ROW, references=frame.CLASS)

    def _compute(self, *, probabilities: list[list[float]], references: list[int]) -> dict[str, Any]:
        tensors = frame.rows_and_classes(probabilities, references, name="probabilities")
        return {"brier_score": calibration.brier_score(*tensors)}
