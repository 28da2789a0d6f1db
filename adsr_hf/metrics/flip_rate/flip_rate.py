"""Flip rate: the share of images whose prediction changes between the clean and the perturbed image.

It needs no labels, and counts a change from one wrong class to another as well.
"""

from typing import Any

import datasets
import evaluate

_INPUTS = """
Inputs:
    predictions (list of int): predicted classes on the perturbed images.
    clean_predictions (list of int): predicted classes on the clean images, in the same order.
Returns:
    flip_rate (float): in [0, 1]; lower is more stable.
"""

_CITATION = """
@inproceedings{hendrycks2019benchmarking,
  title={Benchmarking Neural Network Robustness to Common Corruptions and Perturbations},
  author={Hendrycks, Dan and Dietterich, Thomas},
  booktitle={International Conference on Learning Representations},
  year={2019}
}
"""


class FlipRate(evaluate.Metric):
    """Share of predictions that a perturbation changes; see the card."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "clean_predictions": datasets.Value("int64")}
            ),
            reference_urls=["https://arxiv.org/abs/1903.12261"],
            license="Apache-2.0",
        )

    def _compute(self, *, predictions: list[int], clean_predictions: list[int]) -> dict[str, Any]:
        if not predictions:
            raise ValueError("predictions and clean_predictions hold no images; add at least one before compute")
        flips = sum(after != before for after, before in zip(predictions, clean_predictions, strict=True))
        return {"flip_rate": int(flips) / len(predictions)}
