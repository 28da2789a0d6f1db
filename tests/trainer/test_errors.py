"""What stops training: wrong labels, wrong normalisation, broken weights. Each says where and what to do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.attacks import PixelSpace
from tests.tiny import CLASSES, TinyImages, tiny_config, tiny_model, tiny_processor, tiny_trainer, tiny_vit


class Changed(Dataset):
    """TinyImages with every row changed by ``change``."""

    def __init__(self, change: Any) -> None:
        self.images, self.change = TinyImages(16), change

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.images[index]
        self.change(row)
        return row


def without_labels(row: dict[str, Any]) -> None:
    del row["labels"]


def without_images(row: dict[str, Any]) -> None:
    row["image"] = row.pop("pixel_values")


def label(value: Any) -> Any:
    return lambda row: row.update(labels=value)


BAD_LABELS = [
    (without_labels, r"a batch must hold pixel_values and labels, got \['pixel_values'\].*'labels'"),
    (label(CLASSES), r"labels run from 4 to 4, but the model has classes 0 to 3.*num_labels"),
    (label(-100), r"labels run from -100 to -100, but the model has classes 0 to 3"),
    (label(1.0), r"one class index for each image, got shape \(8,\) and torch\.float32"),
    (label(torch.tensor([0.5, 0.5, 0, 0])), r"got shape \(8, 4\) and torch\.float32.*not supported"),
    (label(torch.tensor([1, 0, 0, 1])), r"got shape \(8, 4\) and torch\.int64"),
]


class TestLabels:
    @pytest.mark.parametrize(("change", "message"), BAD_LABELS)
    @pytest.mark.parametrize("method", ["clean", "adsr"])
    def test_training_stops(self, tmp_path: Path, change: Any, message: str, method: str) -> None:
        trainer = tiny_trainer(tmp_path, train_dataset=Changed(change), method=method)
        with pytest.raises(ValueError, match=message):
            trainer.train()

    @pytest.mark.parametrize(("change", "message"), BAD_LABELS)
    def test_evaluation_stops(self, tmp_path: Path, change: Any, message: str) -> None:
        trainer = tiny_trainer(tmp_path, eval_dataset=Changed(change), per_device_eval_batch_size=8)
        with pytest.raises(ValueError, match=message):
            trainer.evaluate()

    def test_narrow_integers_are_class_indices_too(self, tmp_path: Path) -> None:
        narrow = Changed(lambda row: row.update(labels=torch.tensor(row["labels"], dtype=torch.uint8)))
        trainer = tiny_trainer(tmp_path, train_dataset=narrow, eval_dataset=narrow, max_steps=1)
        expected = tiny_trainer(tmp_path, train_dataset=TinyImages(16), eval_dataset=TinyImages(16), max_steps=1)
        assert trainer.train().training_loss == expected.train().training_loss
        assert trainer.evaluate()["eval_robust_loss"] == expected.evaluate()["eval_robust_loss"]

    def test_missing_images_are_named(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path, train_dataset=Changed(without_images))
        with pytest.raises(ValueError, match=r"got \['image', 'labels'\]"):
            trainer.train()


class TestNormalisation:
    MESSAGE = r"mean=\(0\.0,.*std=\(1\.0,.*must lie in \[0, 1\].*processing_class.*pixel_space"

    @pytest.fixture
    def other_processor(self) -> Any:
        return tiny_processor(image_mean=[0.0] * 3, image_std=[1.0] * 3)

    @pytest.mark.parametrize("method", ["clean", "adsr"])
    def test_training_stops_and_names_mean_and_std(self, tmp_path: Path, other_processor: Any, method: str) -> None:
        trainer = tiny_trainer(tmp_path, processing_class=other_processor, method=method)
        with pytest.raises(ValueError, match=self.MESSAGE):
            trainer.train()

    def test_evaluation_stops_too(self, tmp_path: Path, other_processor: Any) -> None:
        with pytest.raises(ValueError, match=self.MESSAGE):
            tiny_trainer(tmp_path, processing_class=other_processor).evaluate()

    def test_no_image_processor_is_refused_when_the_trainer_is_built(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"processing_class=NoneType is not an image processor.*pixel_space"):
            ADSRTrainer(tiny_vit(), tiny_config(tmp_path), train_dataset=TinyImages())

    def test_pixel_space_takes_the_place_of_a_processor(self, tmp_path: Path) -> None:
        images = TinyImages(8)
        images.pixel_values = images.pixels
        space = PixelSpace(mean=(0.0,), std=(1.0,))
        trainer = ADSRTrainer(tiny_vit(), tiny_config(tmp_path), train_dataset=images, pixel_space=space)
        assert trainer.train().global_step == 3


class _Poison(TrainerCallback):
    """NaN in the weights as soon as ``step`` optimizer steps are done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == self.step:
            with torch.no_grad():
                model.classifier.weight.fill_(torch.nan)


class TestBrokenWeights:
    @pytest.mark.parametrize("method", ["clean", "pgd_at", "adsr"])
    def test_nan_stops_and_names_the_step(self, tmp_path: Path, method: str) -> None:
        trainer = tiny_trainer(tmp_path, method=method, callbacks=[_Poison(2)], max_steps=4)
        with pytest.raises(FloatingPointError, match=r"loss is nan at step 2.*learning_rate.*max_grad_norm"):
            trainer.train()
        assert trainer.state.global_step == 2

    def test_earlier_checkpoints_are_kept(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path, callbacks=[_Poison(2)], max_steps=4, save_strategy="steps", save_steps=1)
        with pytest.raises(FloatingPointError, match="at step 2"):
            trainer.train()
        assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]

    def test_infinite_loss_stops(self, tmp_path: Path) -> None:
        model = tiny_vit()
        with torch.no_grad():
            model.classifier.bias[0] = torch.inf
        with pytest.raises(FloatingPointError, match="at step 0"):
            tiny_trainer(tmp_path, model=model, method="clean").train()


class TestTrainerOptions:
    def test_a_loss_of_ones_own_is_refused(self, tmp_path: Path) -> None:
        arguments = {"processing_class": tiny_processor(), "compute_loss_func": lambda *_, **__: None}
        with pytest.raises(ValueError, match="compute_loss_func cannot be used"):
            ADSRTrainer(tiny_vit(), tiny_config(tmp_path), **arguments)

    @pytest.mark.parametrize(
        ("config", "named"),
        [
            ({"problem_type": "regression"}, "regression"),
            ({"problem_type": "multi_label_classification"}, "multi_label"),
        ],
    )
    def test_other_problem_types_are_refused(self, tmp_path: Path, config: dict[str, Any], named: str) -> None:
        with pytest.raises(ValueError, match=rf"config\.problem_type='{named}"):
            tiny_trainer(tmp_path, model=tiny_model("vit", **config))
