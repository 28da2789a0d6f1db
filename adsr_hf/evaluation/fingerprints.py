"""What was measured, on what: hashes that change when a weight or a pixel does."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import default_data_collator

from adsr_hf.data import ImageClassificationDataset


def model_fingerprint(model: nn.Module) -> str:
    """sha256 over the names, shapes, types and bytes of all parameters and buffers, in order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class DataFacts:
    """What is known of a split before it is measured.

    Attributes:
        fingerprint: sha256 over every image and label, in order.
        labels: (N,), int64.
        image_shape: (C, H, W).
    """

    fingerprint: str
    labels: Tensor
    image_shape: tuple[int, ...]


def data_facts(dataset: Any) -> DataFacts:
    """Read a split once. Images of our own data sets count as they are stored, others as the model gets them.

    Args:
        dataset: items with ``pixel_values`` (C, H, W) and ``labels``.
    """
    if isinstance(dataset, ImageClassificationDataset):
        return DataFacts(dataset.fingerprint, dataset.labels.to(torch.int64), tuple(dataset.store.image_shape))
    digest = hashlib.sha256()
    labels: list[Tensor] = []
    shape: tuple[int, ...] = ()
    for batch in DataLoader(dataset, batch_size=64, collate_fn=default_data_collator):
        shape = tuple(batch["pixel_values"].shape[1:])
        labels.append(batch["labels"].to(torch.int64))
        digest.update(batch["pixel_values"].float().contiguous().numpy().tobytes())
        digest.update(labels[-1].numpy().tobytes())
    return DataFacts(digest.hexdigest(), torch.cat(labels), shape)


def batch_of(dataset: Any, indices: Sequence[int]) -> dict[str, Tensor]:
    """``pixel_values`` (B, C, H, W) and ``labels`` (B,) of some images, as the model would get them."""
    batch: dict[str, Tensor] = default_data_collator([dataset[int(index)] for index in indices])
    return batch
