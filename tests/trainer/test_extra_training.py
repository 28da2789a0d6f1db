"""Runs with extra images: each batch has its share, and a continued run reads what the uninterrupted one would."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adsr_hf import ADSRTrainer
from adsr_hf.data import ImageClassificationDataset, MixedDataset
from adsr_hf.data.augmentation import Augmentation
from adsr_hf.data.image_stores import MemoryStore
from adsr_hf.networks.pixels import PixelSpace
from tests.snapshots import Crash, CrashAfter, assert_identical, snapshot
from tests.tiny import MEAN, STD, TinyImages, tiny_trainer, tiny_vit
from tests.tiny_runs import SCHEDULE


def images(length: int, seed: int) -> ImageClassificationDataset:
    tiny = TinyImages(length, seed=seed)
    return ImageClassificationDataset(
        MemoryStore((tiny.pixels * 255).round().byte()),
        tiny.labels,
        pixel_space=PixelSpace(MEAN, STD),
        class_names=list("abcd"),
        augmentation=Augmentation(2, True, 1),
    )


class Witness(ADSRTrainer):
    """Keeps the batches it trains on."""

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        if model.training:
            self.__dict__.setdefault("seen", []).append(inputs["pixel_values"].clone())
        return super().compute_loss(model, inputs, *args, **kwargs)


def trainer(folder: Path, *, seed: int = 0, **options: Any) -> Any:
    # 16 own images and as many extra ones an epoch: 4 steps of 8, as SCHEDULE expects; 11 extra ones, read in passes.
    dataset = MixedDataset(images(16, 0), images(11, 7), fraction=0.5, seed=3)
    return tiny_trainer(
        folder, model=tiny_vit(seed=seed), train_dataset=dataset, trainer_class=Witness, **(SCHEDULE | options)
    )


@pytest.mark.parametrize("options", [{}, {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3}])
def test_a_continued_run_reads_what_the_uninterrupted_one_reads(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = trainer(tmp_path / "whole", **options)
    whole.train()
    with pytest.raises(Crash):
        trainer(tmp_path / "cut", callbacks=[CrashAfter(7)], **options).train()
    continued = trainer(tmp_path / "cut", seed=99, **options)
    continued.train(resume_from_checkpoint=True)
    assert len(continued.seen) < len(whole.seen)
    assert_identical(continued.seen, whole.seen[-len(continued.seen) :])
    assert_identical(snapshot(continued), snapshot(whole))


def test_batches_follow_the_order_of_the_data_set(tmp_path: Path) -> None:
    found = trainer(tmp_path, save_strategy="no", eval_strategy="no", max_steps=5)
    found.train()
    dataset = found.train_dataset
    for step, values in enumerate(found.seen):
        dataset.set_epoch(step // 4)
        positions = range(8 * (step % 4), 8 * (step % 4) + 8)
        expected = torch.stack([example["pixel_values"] for example in dataset.__getitems__(positions)])
        assert torch.equal(values, expected)


def test_another_sampling_strategy_is_refused(tmp_path: Path) -> None:
    found = trainer(tmp_path, train_sampling_strategy="sequential")
    with pytest.raises(ValueError, match=r"train_sampling_strategy='sequential' does not go with extra images"):
        found.train()
