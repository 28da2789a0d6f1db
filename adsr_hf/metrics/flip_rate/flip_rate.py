"""Flip rate: the share of images whose prediction changes between the clean and the perturbed image.

It needs no labels, and counts a change from one wrong class to another as well.
"""

from typing import Any

from adsr_hf.metrics import frame

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


class FlipRate(frame.FramedMetric):
    """Share of predictions that a perturbation changes; see the card."""

    inputs, citation = _INPUTS, _CITATION
    reference = "https://arxiv.org/abs/1903.12261"
    columns = frame.columns(predictions=frame.CLASS, clean_predictions=frame.CLASS)

    def _compute(self, *, predictions: list[int], clean_predictions: list[int]) -> dict[str, Any]:
        frame.refuse_none(predictions, "predictions and clean_predictions")
        flips = sum(after != before for after, before in zip(predictions, clean_predictions, strict=True))
        return {"flip_rate": int(flips) / len(predictions)}
