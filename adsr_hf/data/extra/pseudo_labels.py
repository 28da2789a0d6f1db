"""Labels for images that have none: what a trained classifier says (Carmon et al. 2019, arXiv 1905.13736)."""

from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import reduce
from datasets import Dataset
from datasets.utils import tqdm
from torch import Tensor
from transformers import PreTrainedModel

from adsr_hf.data.reading import RowReader
from adsr_hf.data.sources import ORIGIN_COLUMN
from adsr_hf.networks.class_names import match_names
from adsr_hf.networks.classifier import logits_of
from adsr_hf.networks.pretrained import PretrainedError, load_classifier, load_image_processor
from adsr_hf.records.machine import process_state

_BATCH = 256


@dataclass(frozen=True)
class PseudoLabels:
    """What a classifier says of N images.

    Attributes:
        labels: (N,) int64, the most probable class.
        mean_confidence: mean probability of that class, in [0, 1].
    """

    labels: Tensor
    mean_confidence: float


class PseudoLabeler:
    """A classifier with its own image processor, in eval mode and float32.

    Args:
        checkpoint: Hub name or folder of an image classifier.
        class_names: which index each of its labels gets, by name.

    Raises:
        ValueError: when it cannot be loaded, lacks weights, or has other label names.
    """

    def __init__(self, checkpoint: str, class_names: list[str]) -> None:
        self.model, self.processor = _load(checkpoint)
        names = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]
        order = match_names(names, class_names)
        if None in order or len(names) != len(class_names):
            raise ValueError(
                f"extra_pseudo_labeler={checkpoint!r} has the label names {names}, and dataset has {class_names}; use "
                "a classifier that was trained on the classes of dataset"
            )
        self.device = process_state().device
        self.model.to(self.device).eval()
        self._index = torch.tensor(order)

    def label(
        self, dataset: Dataset, image_column: str, *, reader: RowReader, rows: Tensor, show_progress: bool = True
    ) -> PseudoLabels:
        """Label rows of a table; several processes share the work, and all get every label.

        Args:
            dataset: with ``image_column`` cast to ``Image(decode=False)``, and ``ORIGIN_COLUMN``.
            reader: of its rows.
            rows: (N,) int64.

        Raises:
            BrokenImageError: a ValueError, for an image that cannot be read.
        """
        state = process_state()
        labels = torch.zeros(len(rows), dtype=torch.int64)
        confidences = torch.zeros(len(rows), dtype=torch.float64)
        positions = torch.arange(state.process_index, len(rows), state.num_processes)
        with tqdm(total=len(positions), desc="Pseudo-labels", unit="image", disable=not show_progress) as progress:
            for batch in positions.split(_BATCH):
                table = dataset[rows[batch].tolist()]
                probabilities = self._probabilities(reader, table[image_column], table[ORIGIN_COLUMN])
                confidences[batch], best = probabilities.max(1)
                labels[batch] = self._index[best]
                progress.update(len(batch))
        if state.num_processes > 1:
            labels, confidences = (reduce(part.to(state.device), "sum").cpu() for part in (labels, confidences))
        return PseudoLabels(labels, confidences.mean().item())

    @torch.no_grad()
    def _probabilities(self, reader: RowReader, images: list[dict[str, Any]], origins: list[str]) -> Tensor:
        """(B, K) float64, on the CPU."""
        decoded = [reader.read(row, origin)[0] for row, origin in zip(images, origins, strict=True)]
        values = self.processor(decoded, return_tensors="pt")["pixel_values"].to(self.device)
        logits = logits_of(self.model(pixel_values=values), self.model.config.num_labels)
        return logits.cpu().double().softmax(1)


def _load(checkpoint: str) -> tuple[PreTrainedModel, Any]:
    try:
        return load_classifier(checkpoint, dtype=torch.float32), load_image_processor(checkpoint)
    except PretrainedError as error:
        raise ValueError(
            f"extra_pseudo_labeler={checkpoint!r} cannot be loaded as an image classifier with its processor: "
            f"{error}. Give a Hub name, or a folder that a run has saved"
        ) from error
