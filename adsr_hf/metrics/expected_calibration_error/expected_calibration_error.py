"""Expected calibration error: how far a classifier's confidence is from how often it is right.

Images are put into bins of confidence; the gap between accuracy and mean confidence in each bin is averaged, weighted
by images (Guo et al. 2017, equation 3).
"""

from typing import Any

import datasets
import evaluate
import torch

from adsr_hf.measures.calibration import Binning
from adsr_hf.measures.calibration import expected_calibration_error as expected_calibration_error_of

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


class ExpectedCalibrationError(evaluate.Metric):
    """Mean gap between accuracy and confidence over bins of confidence; see the card."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"probabilities": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
            reference_urls=["https://arxiv.org/abs/1706.04599"],
            license="Apache-2.0",
        )

    def _compute(
        self,
        *,
        probabilities: list[list[float]],
        references: list[int],
        bins: int = 15,
        binning: Binning = "equal_width",
    ) -> dict[str, Any]:
        lengths = sorted({len(row) for row in probabilities})
        if len(lengths) > 1:
            raise ValueError(f"probabilities must have one column for each class, got rows of {lengths} columns")
        error = expected_calibration_error_of(
            torch.tensor(probabilities, dtype=torch.float64),
            torch.tensor(references, dtype=torch.int64),
            bins=bins,
            binning=binning,
        )
        return {"expected_calibration_error": error}
