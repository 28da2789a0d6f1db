"""Expected calibration error: how far a classifier's confidence is from how often it is right.

Images are put into bins of confidence; the gap between accuracy and mean confidence in each bin is averaged, weighted
by images (Guo et al. 2017, equation 3).
"""

from typing import Any

from adsr_hf.measures import calibration
from adsr_hf.metrics import frame

_INPUTS = """
Inputs:
    probabilities (list of list of float): one row for each image, one column for each class; rows sum to 1.
    references (list of int): true classes.
Options of compute:
    bins (int): number of bins; 15 unless told.
    binning (str): "equal_width" (the default) or "equal_mass".
Returns:
    expected_calibration_error (float): in [0, 1]; lower is better.
"""

_CITATION = """
@inproceedings{guo2017calibration,
  title={On Calibration of Modern Neural Networks},
  author={Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  booktitle={International Conference on Machine Learning},
  year={2017}
}
"""


class ExpectedCalibrationError(frame.FramedMetric):
    """Mean gap between accuracy and confidence over bins of confidence; see the card."""

    inputs, citation = _INPUTS, _CITATION
    reference = "https://arxiv.org/abs/1706.04599"
    columns = frame.columns(probabilities=frame.ROW, references=frame.CLASS)

    def _compute(
        self,
        *,
        probabilities: list[list[float]],
        references: list[int],
        bins: int = 15,
        binning: calibration.Binning = "equal_width",
    ) -> dict[str, Any]:
        tensors = frame.rows_and_classes(probabilities, references, name="probabilities")
        return {
            "expected_calibration_error": calibration.expected_calibration_error(*tensors, bins=bins, binning=binning)
        }
