"""Negative log-likelihood: the mean of −log of the probability that a classifier gives to the true class.

Taken from logits, since a float32 softmax rounds small probabilities to 0 (Guo et al. 2017, equation 5).
"""

from typing import Any

import datasets
import evaluate
import torch

from adsr_hf.measures.calibration import negative_log_likelihood as negative_log_likelihood_of

_INPUTS = """
Inputs:
    logits (list of list of float): one row for each image, one column for each class; finite.
    references (list of int): true classes.
Returns:
    negative_log_likelihood (float): in nats, at least 0; lower is better.
"""

_CITATION = """
@inproceedings{guo2017calibration,
  title={On Calibration of Modern Neural Networks},
  author={Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  booktitle={International Conference on Machine Learning},
  year={2017}
}
"""


class NegativeLogLikelihood(evaluate.Metric):
    """Mean of −log of the true class's probability; see the card."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "logits": datasets.List(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
            reference_urls=["https://arxiv.org/abs/1706.04599"],
            license="Apache-2.0",
        )

    def _compute(self, *, logits: list[list[float]], references: list[int]) -> dict[str, Any]:
        lengths = sorted({len(row) for row in logits})
        if len(lengths) > 1:
            raise ValueError(f"logits must have one column for each class, got rows of {lengths} columns")
        value = negative_log_likelihood_of(
            torch.tensor(logits, dtype=torch.float64), torch.tensor(references, dtype=torch.int64)
        )
        return {"negative_log_likelihood": value}
