"""Output stability: one minus the distance between the probabilities on the clean and on the perturbed image.

The distance is the total variation, half the sum of absolute differences, averaged over images.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from adsr_hf.measures.calibration import ROW_SUM_TOLERANCE

_INPUTS = """
Inputs:
    probabilities (list of list of float): on the perturbed images; one row for each image, rows sum to 1.
    clean_probabilities (list of list of float): on the clean images, in the same order.
Returns:
    output_stability (float): in [0, 1]; higher is more stable.
"""

_CITATION = """
@inproceedings{hendrycks2019benchmarking,
  title={Benchmarking Neural Network Robustness to Common Corruptions and Perturbations},
  author={Hendrycks, Dan and Dietterich, Thomas},
  booktitle={International Conference on Learning Representations},
  year={2019}
}
"""


class OutputStability(evaluate.Metric):
    """One minus the mean total variation between two outputs; see the card."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "probabilities": datasets.List(datasets.Value("float64")),
                    "clean_probabilities": datasets.List(datasets.Value("float64")),
                }
            ),
            reference_urls=["https://arxiv.org/abs/1903.12261"],
            license="Apache-2.0",
        )

    def _compute(self, *, probabilities: list[list[float]], clean_probabilities: list[list[float]]) -> dict[str, Any]:
        if not probabilities:
            raise ValueError("probabilities and clean_probabilities hold no images; add at least one before compute")
        lengths = sorted({len(row) for row in (*probabilities, *clean_probabilities)})
        if len(lengths) > 1:
            raise ValueError(
                "probabilities and clean_probabilities must have one column for each class, got rows of "
                f"{lengths} columns"
            )
        perturbed, clean = np.asarray(probabilities), np.asarray(clean_probabilities)
        for name, rows in (("probabilities", perturbed), ("clean_probabilities", clean)):
            if not ((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=ROW_SUM_TOLERANCE)):
                raise ValueError(f"{name} must be at least 0 and sum to 1 in each row; pass the softmax, not logits")
        return {"output_stability": 1 - float(np.abs(perturbed - clean).sum(axis=1).mean()) / 2}
