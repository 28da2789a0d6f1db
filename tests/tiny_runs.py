"""Runs that tests cut off and continue."""

from pathlib import Path
from typing import Any

import torch

from adsr_hf import ADSRTrainer
from tests.tiny import TinyImages, tiny_model, tiny_trainer

# 4 steps an epoch: checkpoint-5 lies inside the second epoch, and between two log lines.
SCHEDULE: dict[str, Any] = {
    "max_steps": 9,
    "logging_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 5,
    "save_strategy": "steps",
    "save_steps": 5,
    "learning_rate": 3e-3,
}


class AugmentedImages(TinyImages):
    """Images rolled by a number of pixels that depends on (epoch, index) alone."""

    def __init__(self, length: int = 32) -> None:
        super().__init__(length)
        # Shared with workers that outlive an epoch.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = super().__getitem__(index)
        shift = (7 * int(self.epoch) + index) % 16
        return example | {"pixel_values": example["pixel_values"].roll(shift, dims=-1)}


class Case:
    """One configuration: how its trainer is built."""

    def __init__(self, *, family: str = "vit", model: dict[str, Any] | None = None, data: Any = None, **config: Any):
        self.family, self.model, self.data, self.config = family, model or {}, data, config

    def trainer(self, folder: Path, *, seed: int = 0, callbacks: list[Any] | None = None) -> ADSRTrainer:
        return tiny_trainer(
            folder,
            model=tiny_model(self.family, seed=seed, **self.model),
            train_dataset=self.data() if self.data is not None else None,
            callbacks=callbacks,
            **(SCHEDULE | self.config),
        )
