"""Where a split's pixels live: in memory, or in their files."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from adsr_hf.data.processor_geometry import apply_geometry
from adsr_hf.data.reading import RowReader
from adsr_hf.data.sources import ORIGIN_COLUMN

Indices = Sequence[int] | Tensor | np.ndarray


class ImageStore(Protocol):
    """N images of one shape.

    Attributes:
        image_shape: (C, H, W).
        digest: SHA-256 of all pixels in order, as hexadecimal text; the same for each kind of store.
    """

    image_shape: tuple[int, int, int]
    digest: str

    def __len__(self) -> int: ...

    def fetch(self, indices: Indices) -> Tensor:
        """(B, C, H, W), uint8."""
        ...


class MemoryStore:
    """Images that are kept decoded.

    Args:
        images: (N, C, H, W), uint8.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.image_shape: tuple[int, int, int] = tuple(images.shape[1:])  # type: ignore[assignment]
        self.digest = hashlib.sha256(images.contiguous().numpy().data).hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, indices: Indices) -> Tensor:
        """(B, C, H, W), uint8; a copy."""
        return self.images[torch.as_tensor(indices, dtype=torch.int64)]


class LazyStore:
    """Images that are decoded at each access.

    Args:
        dataset: table with ``image_column`` cast to ``Image(decode=False)``.
        processor: whose geometry is applied.
        reader: of the rows.
        rows: (N,) row of each image in ``dataset``.
        image_shape: (C, H, W) after the geometry.
        digest: SHA-256 of all pixels, as :class:`MemoryStore` would give.
    """

    def __init__(
        self,
        dataset: Dataset,
        image_column: str,
        processor: Any,
        *,
        reader: RowReader,
        rows: np.ndarray,
        image_shape: tuple[int, int, int],
        digest: str,
    ) -> None:
        self.dataset = dataset
        self.image_column = image_column
        self.processor = processor
        self.reader = reader
        self.rows = rows
        self.image_shape = image_shape
        self.digest = digest

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, indices: Indices) -> Tensor:
        """(B, C, H, W), uint8.

        Raises:
            BrokenImageError: when a file has been damaged or removed since the split was prepared.
        """
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        table = self.dataset[rows]
        return torch.stack(
            [
                apply_geometry(
                    self.processor, self.reader.read(table[self.image_column][i], table[ORIGIN_COLUMN][i])[0]
                )
                for i in range(len(rows))
            ]
        )
