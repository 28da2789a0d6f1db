"""How a Trainer reads data sets that come in an order of their own."""

from collections.abc import Sized
from typing import cast

from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer


class OrderKeepingTrainer(Trainer):
    """Trainer that leaves the order to a training set that ``shuffles_itself``, such as one with extra images."""

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
