"""Negative log-likelihood: the mean of −log of the probability that a classifier gives to the true class.

Taken from logits, since a float32 softmax rounds small probabilities to 0 (Guo et al. 2017, equation 5).
"""

from typing import Any

from adsr_hf.measures import calibration
from adsr_hf.metrics import frame

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


class NegativeLogLikelihood(frame.FramedMetric):
    """Mean of −log of the true class's probability; see the card."""

    inputs, citation = _INPUTS, _CITATION
    reference = "https://arxiv.org/abs/1706.04599"
    columns = frame.columns(logits=frame.ROW, references=frame.CLASS)

    def _compute(self, *, logits: list[list[float]], references: list[int]) -> dict[str, Any]:
        tensors = frame.rows_and_classes(logits, references, name="logits")
        return {"negative_log_likelihood": calibration.negative_log_likelihood(*tensors)}
