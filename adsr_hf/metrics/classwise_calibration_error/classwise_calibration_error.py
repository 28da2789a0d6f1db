"""Classwise calibration error: how far each class's probability is from how often the class occurs.

Images are put into bins of the probability of one class; the gap between mean probability and frequency in each bin
is averaged, weighted by images, and then over the classes (Kull et al. 2019).
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
    classwise_calibration_error (float): in [0, 1]; lower is better.
"""

_CITATION = """
@inproceedings{kull2019beyond,
  title={Beyond Temperature Scaling: Obtaining Well-Calibrated Multi-Class Probabilities with Dirichlet Calibration},
  author={Kull, Meelis and Perello-Nieto, Miquel and Kängsepp, Markus and Silva Filho, Telmo and others},
  booktitle={Advances in Neural Information Processing Systems},
  year={2019}
}
"""


class ClasswiseCalibrationError(frame.FramedMetric):
    """Mean gap between each class's probability and its frequency; see the card."""

    inputs, citation = _INPUTS, _CITATION
    reference = "https://arxiv.org/abs/1910.12656"
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
            "classwise_calibration_error": calibration.classwise_calibration_error(
                *tensors, bins=bins, binning=binning
            )
        }
