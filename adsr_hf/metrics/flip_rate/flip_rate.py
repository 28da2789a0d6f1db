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


class FlipRate(frame.FramedMetric):
    """Share of predictions that a perturbation changes; see the card."""

    inputs, citation = _INPUTS, frame.HENDRYCKS_2019
    reference = "https://arxiv.org/abs/1903.12261"
    columns = frame.columns(predictions=frame.CLASS, clean_predictions=frame.CLASS)

    def _compute(self, *, predictions: list[int], clean_predictions: list[int]) -> dict[str, Any]:
        frame.refuse_none(predictions, "predictions and clean_predictions")
        flips = sum(after != before for after, before in zip(predictions, clean_predictions, strict=True))
        return {"flip_rate": int(flips) / len(predictions)}
