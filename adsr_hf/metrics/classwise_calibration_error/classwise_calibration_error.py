"""Classwise calibration error: how far each class's probability is from how often the class occurs.

Images are put into bins of the probability of one class; the gap between mean probability and frequency in each bin
is averaged, weighted by images, and then over the classes (Kull et al. 2019).
"""

from typing import Any

import datasets
import evaluate
import torch

from adsr_hf.measures.calibration import Binning
from adsr_hf.measures.calibration import classwise_calibration_error as classwise_calibration_error_of

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


class ClasswiseCalibrationError(evaluate.Metric):
    """Mean gap between each class's probability and its frequency; see the card."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "probabilities": datasets.List(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
            reference_urls=["https://arxiv.org/abs/1910.12656"],
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
        value = classwise_calibration_error_of(
            torch.tensor(probabilities, dtype=torch.float64),
            torch.tensor(references, dtype=torch.int64),
            bins=bins,
            binning=binning,
        )
        return {"classwise_calibration_error": value}
