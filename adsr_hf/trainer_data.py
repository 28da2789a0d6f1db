"""How a Trainer reads data sets: in an order of their own, without columns nobody takes, with labels it can check."""

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import datasets
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer

from adsr_hf.data.label_check import check_label_column

IMAGES = "pixel_values"


class OrderKeepingTrainer(Trainer):
    """Trainer for images that are prepared already, or by the data set itself.

    It leaves the order to a training set that ``shuffles_itself``, such as one with extra images. Where
    ``remove_unused_columns`` is None, it drops what the model does not take from rows that hold ``pixel_values``, as
    Trainer does, and leaves all columns to a transform, which reads the image.

    Attributes:
        num_classes: K, of the model.
    """

    num_classes: int

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if not getattr(dataset, "shuffles_itself", False):
            return super()._get_train_sampler(train_dataset)
        if self.args.train_sampling_strategy != "random":
            raise ValueError(
                f"train_sampling_strategy={self.args.train_sampling_strategy!r} does not go with extra images, whose "
                "fixed share of each batch is an order already; leave it out, or leave extra_dataset out"
            )
        return SequentialSampler(cast(Sized, dataset))

    def _remove_unused_columns(self, dataset: datasets.Dataset, description: str | None = None) -> datasets.Dataset:
        if self.args.remove_unused_columns is not None or not self._takes_images():
            return super()._remove_unused_columns(dataset, description)
        if dataset.format["type"] == "custom" or IMAGES not in dataset.column_names:
            return dataset
        with self._removing():
            return super()._remove_unused_columns(dataset, description)

    def _get_collator_with_removed_columns(
        self, data_collator: Callable[[list[Any]], Any], description: str | None = None
    ) -> Callable[[list[Any]], Any]:
        if self.args.remove_unused_columns is not None or not self._takes_images():
            return super()._get_collator_with_removed_columns(data_collator, description)
        with self._removing():
            return _Collator(data_collator, super()._get_collator_with_removed_columns(data_collator, description))

    def check_labels(self, dataset: Any, *, name: str) -> None:
        """Refuse labels outside the model's classes, where they can be read without the images.

        Args:
            dataset: what a loader reads, or several by name; None passes.
            name: what the error calls it.

        Raises:
            ValueError: see :func:`adsr_hf.data.label_check.check_label_column`.
        """
        collate: Any = self._get_collator_with_removed_columns(self.data_collator)
        for key, images in dataset.items() if isinstance(dataset, dict) else ((None, dataset),):
            check_label_column(
                images, self.num_classes, name=name if key is None else f"{name}[{key!r}]", collate=collate
            )

    def _takes_images(self) -> bool:
        """Whether the model's forward names its images, so that it can be told what it does not take."""
        self._set_signature_columns_if_needed()
        return IMAGES in (self._signature_columns or ())

    @contextmanager
    def _removing(self) -> Iterator[None]:
        self.args.remove_unused_columns = True
        try:
            yield
        finally:
            self.args.remove_unused_columns = None


class _Collator:
    """Drops unused columns from rows that hold images, and leaves others to the user's collator as they are."""

    def __init__(self, plain: Callable[[list[Any]], Any], dropping: Callable[[list[Any]], Any]) -> None:
        self._plain, self._dropping = plain, dropping

    def __call__(self, rows: list[Any]) -> Any:
        prepared = all(isinstance(row, dict) and IMAGES in row for row in rows)
        return self._dropping(rows) if prepared else self._plain(rows)
