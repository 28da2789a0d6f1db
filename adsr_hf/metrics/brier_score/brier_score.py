"""Brier score: the mean squared distance between predicted probabilities and one-hot labels.

Summed over the classes, so that it runs from 0 to 2 (Brier 1950).
"""

from typing import Any

import datasets
import evaluate
import torch

from adsr_hf.measures.calibration import brier_score as brier_score_of

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


class BrierScore(evaluate.Metric):
    """Mean squared distance between probabilities and one-hot labels; see the card."""

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
            reference_urls=["https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"],
            license="Apache-2.0",
        )

    def _compute(self, *, probabilities: list[list[float]], references: list[int]) -> dict[str, Any]:
        lengths = sorted({len(row) for row in probabilities})
        if len(lengths) > 1:
            raise ValueError(f"probabilities must have one column for each class, got rows of {lengths} columns")
        value = brier_score_of(
            torch.tensor(probabilities, dtype=torch.float64), torch.tensor(references, dtype=torch.int64)
        )
        return {"brier_score": value}
