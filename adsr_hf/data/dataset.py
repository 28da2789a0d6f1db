"""The data set that Trainer reads: pixels from a store, augmented and normalised a batch at a time."""

import hashlib
import json
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from adsr_hf.data.augmentation import Augmentation, augment
from adsr_hf.data.image_stores import ImageStore, Indices
from adsr_hf.networks.pixels import PixelSpace


class Example(TypedDict):
    """One image as Trainer's collators take it: (C, H, W) float32 normalised inputs, and a class index."""

    pixel_values: Tensor
    labels: int


class ImageClassificationDataset(torch.utils.data.Dataset[Example]):
    """Labelled images of one size.

    Args:
        store: N images.
        labels: (N,) class indices.
        pixel_space: the processor's rescaling and normalisation.
        class_names: name of each class index.
        augmentation: None for evaluation.
        seed: key of the augmentation, together with the epoch and an image's index.

    Raises:
        ValueError: when labels do not fit the store or the class names, or the crop is larger than the image.
    """

    def __init__(
        self,
        store: ImageStore,
        labels: Sequence[int] | Tensor,
        *,
        pixel_space: PixelSpace,
        class_names: Sequence[str],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.store = store
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self.pixel_space = pixel_space
        self.class_names = list(class_names)
        self.augmentation = augmentation
        self.seed = seed
        # In shared memory, so that workers which live through several epochs see the change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._check()

    def _check(self) -> None:
        if self.labels.shape != (len(self.store),):
            raise ValueError(
                f"labels of shape {tuple(self.labels.shape)} do not fit {len(self.store)} images; give one an image"
            )
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.class_names)):
            raise ValueError(
                f"labels from {self.labels.min()} to {self.labels.max()} must lie in [0, {len(self.class_names) - 1}] "
                f"for {len(self.class_names)} class names; correct the labels or name every class"
            )
        side = min(self.store.image_shape[1:])
        if self.augmentation is not None and self.augmentation.padding >= side:
            raise ValueError(
                f"crop_padding={self.augmentation.padding} must be below the image's side of {side} px, or whole "
                "images are shifted out of sight; about an eighth of the side is usual, 0 turns the crop off"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        """One example; an index below 0 counts from the end.

        Raises:
            IndexError: outside the data set.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside a data set of {len(self)} images")
        return self.__getitems__([index % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Examples of a batch, made in one go; DataLoader prefers this to one call an image."""
        return self.examples(indices, epoch=self.epoch)

    def examples(self, indices: Sequence[int] | np.ndarray, *, epoch: int | np.ndarray) -> list[Example]:
        """Examples as another epoch augments them.

        Args:
            indices: (B,), in [0, N).
            epoch: one for all, or one for each image, (B,) int64.
        """
        images = self.store.fetch(indices)
        if self.augmentation is not None:
            images = augment(images, indices, self.augmentation, seed=self.seed, epoch=epoch)
        values = self.pixel_space.to_pixel_values(images.float().div_(255))
        labels = self.labels[torch.as_tensor(indices, dtype=torch.int64)].tolist()
        return [
            {"pixel_values": value, "labels": label} for value, label in zip(values.unbind(0), labels, strict=True)
        ]

    def pixels(self, indices: Indices) -> Tensor:
        """(B, C, H, W), float32, in [0, 1]: as they are in the store, without augmentation."""
        return self.store.fetch(indices).float().div_(255)

    def with_classes(self, class_names: Sequence[str], index: Sequence[int]) -> "ImageClassificationDataset":
        """The same images as classes of another list, without augmentation.

        Args:
            class_names: the other list.
            index: where each of this data set's classes stands in it.
        """
        return ImageClassificationDataset(
            self.store,
            torch.tensor(index, dtype=torch.int64)[self.labels],
            pixel_space=self.pixel_space,
            class_names=class_names,
            seed=self.seed,
        )

    @property
    def epoch(self) -> int:
        """The epoch that keys the augmentation."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw another augmentation for each image; Trainer calls this through accelerate's DataLoader."""
        self._epoch.fill_(epoch)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of pixels, shape, labels and class names, as hexadecimal text.

        Equal for equal images, wherever they are kept; normalisation and augmentation do not enter.
        """
        settings = [self.store.digest, list(self.store.image_shape), self.labels.tolist(), self.class_names]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()
