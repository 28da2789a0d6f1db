"""Output stability: one minus the distance between the probabilities on the clean and on the perturbed image.

The distance is the total variation, half the sum of absolute differences, averaged over images.
"""

from typing import Any

from adsr_hf.measures import calibration
from adsr_hf.metrics import frame

_INPUTS = """
Inputs:
    probabilities (list of list of float): on the perturbed images; one row for each image, rows sum to 1.
    clean_probabilities (list of list of float): on the clean images, in the same order.
Returns:
    output_stability (float): in [0, 1]; higher is more stable.
"""


class OutputStability(frame.FramedMetric):
    """One minus the mean total variation between two outputs; see the card."""

    inputs, citation = _INPUTS, frame.HENDRYCKS_2019
    reference = "https://arxiv.org/abs/1903.12261"
    columns = frame.columns(probabilities=frame.ROW, clean_probabilities=frame.ROW)

    def _compute(self, *, probabilities: list[list[float]], clean_probabilities: list[list[float]]) -> dict[str, Any]:
        names = "probabilities and clean_probabilities"
        frame.refuse_none(probabilities, names)
        rows = frame.rows_as_tensor([*probabilities, *clean_probabilities], name=names)
        perturbed, clean = rows.split(len(probabilities))
        for name, given in (("probabilities", perturbed), ("clean_probabilities", clean)):
            if not ((given >= 0).all() and ((given.sum(1) - 1).abs() <= calibration.ROW_SUM_TOLERANCE).all()):
                raise ValueError(f"{name} must be at least 0 and sum to 1 in each row; pass the softmax, not logits")
        return {"output_stability": 1 - (perturbed - clean).abs().sum(1).mean().item() / 2}
