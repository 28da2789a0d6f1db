"""What the `evaluate` modules have in common: their description, their inputs, and a look at both.

They use it as ``frame.FramedMetric``: `evaluate` takes the first metric class among a module's own names.
"""

import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import datasets
import evaluate
import torch
from torch import Tensor

# One for each image: a class index, or a row with a number for each class.
CLASS, ROW = datasets.Value("int64"), datasets.List(datasets.Value("float64"))

# Two of them measure what this paper does.
HENDRYCKS_2019 = """
@inproceedings{hendrycks2019benchmarking,
  title={Benchmarking Neural Network Robustness to Common Corruptions and Perturbations},
  author={Hendrycks, Dan and Dietterich, Thomas},
  booktitle={International Conference on Learning Representations},
  year={2019}
}
"""


def columns(**kinds: Any) -> dict[str, Any]:
    """A metric's inputs by name, CLASS or ROW each."""
    return kinds


class FramedMetric(evaluate.Metric):
    """A metric whose module's docstring describes it.

    Attributes:
        inputs: what it takes and gives back, as `evaluate` shows it.
        citation: BibTeX of the paper that defines it.
        reference: the paper's address.
        columns: its inputs by name, CLASS or ROW each.
    """

    inputs: ClassVar[str]
    citation: ClassVar[str]
    reference: ClassVar[str]
    columns: ClassVar[dict[str, Any]]

    def columns_taken(self) -> dict[str, Any]:
        """The inputs of this configuration; :attr:`columns` unless a metric has several."""
        return self.columns

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=sys.modules[type(self).__module__].__doc__,
            citation=self.citation,
            inputs_description=self.inputs,
            features=datasets.Features(self.columns_taken()),
            reference_urls=[self.reference],
            license="Apache-2.0",
        )


def refuse_none(images: Sequence[Any], names: str) -> None:
    """Raise ValueError where there is no image."""
    if not len(images):
        raise ValueError(f"{names} hold no images; add at least one before compute")


def rows_and_classes(rows: list[list[float]], classes: list[int], *, name: str) -> tuple[Tensor, Tensor]:
    """(N, K) float64 and (N,) int64.

    Raises:
        ValueError: when rows have different lengths.
    """
    return rows_as_tensor(rows, name=name), torch.tensor(classes, dtype=torch.int64)


def rows_as_tensor(rows: list[list[float]], *, name: str) -> Tensor:
    """(N, K) float64.

    Raises:
        ValueError: when rows have different lengths.
    """
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise ValueError(f"{name} must have one column for each class, got rows of {lengths} columns")
    return torch.tensor(rows, dtype=torch.float64)
