"""Columns that nobody takes, and labels that are none of the model's classes: told before training begins."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset
from transformers import Trainer, TrainingArguments

from adsr_hf import ADSRTrainer
from tests.tiny import CLASSES, TinyImages, tiny_config, tiny_processor, tiny_trainer, tiny_vit

IMAGES = TinyImages(16)


def rows(labels: list[int] | None = None) -> dict[str, Any]:
    pixels = (IMAGES.pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return {
        "image": [Image.fromarray(image) for image in pixels],
        "label": IMAGES.labels.tolist() if labels is None else labels,
        "file": [f"{index}.png" for index in range(16)],
    }


def prepared(batch: dict[str, Any]) -> dict[str, Any]:
    return {"pixel_values": tiny_processor()(batch["image"], return_tensors="np")["pixel_values"]}


def mapped(labels: list[int] | None = None) -> datasets.Dataset:
    return datasets.Dataset.from_dict(rows(labels)).map(prepared, batched=True)


class Described(TinyImages):
    """Rows with a key that no model takes."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return super().__getitem__(index) | {"file": f"{index}.png"}


class TestColumns:
    @pytest.mark.parametrize("dataset", [mapped, Described], ids=["mapped", "torch"])
    def test_what_the_model_does_not_take_is_dropped_as_in_trainer(self, tmp_path: Path, dataset: Any) -> None:
        settings = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "max_steps": 2, "save_strategy": "no"}
        arguments = TrainingArguments(output_dir=str(tmp_path / "trainer"), learning_rate=1e-3, **settings)
        theirs = Trainer(tiny_vit(), arguments, train_dataset=dataset(), processing_class=tiny_processor())
        ours = ADSRTrainer(
            tiny_vit(),
            tiny_config(tmp_path / "ours", method="clean", per_device_train_batch_size=8, max_steps=2),
            train_dataset=dataset(),
            eval_dataset=dataset(),
            processing_class=tiny_processor(),
        )
        theirs.train()
        ours.train()
        for one, other in zip(theirs.model.parameters(), ours.model.parameters(), strict=True):
            assert torch.equal(one, other)
        assert ours.evaluate()["eval_images"] == len(ours.eval_dataset)

    def test_a_transform_keeps_every_column(self, tmp_path: Path) -> None:
        seen = set()

        def transform(batch: dict[str, Any]) -> dict[str, Any]:
            seen.update(batch)
            return prepared(batch) | {"label": batch["label"]}

        dataset = datasets.Dataset.from_dict(rows()).with_transform(transform)
        tiny_trainer(tmp_path, train_dataset=dataset, max_steps=1).train()
        assert seen == {"image", "label", "file"}

    def test_a_collator_that_prepares_images_keeps_every_column(self, tmp_path: Path) -> None:
        def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
            images = prepared({"image": [row["image"] for row in batch]})
            return {
                "pixel_values": torch.tensor(np.array(images["pixel_values"])),
                "labels": torch.tensor([row["label"] for row in batch]),
            }

        trainer = ADSRTrainer(
            tiny_vit(),
            tiny_config(tmp_path, max_steps=1),
            train_dataset=datasets.Dataset.from_dict(rows()),
            processing_class=tiny_processor(),
            data_collator=collate,
        )
        assert trainer.train().global_step == 1

    def test_a_choice_of_the_users_own_stands(self, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="Image"):
            tiny_trainer(tmp_path, train_dataset=mapped(), remove_unused_columns=False).train()


class Labelled(Dataset):
    """Counts how many rows are read; the last label is ``last``."""

    def __init__(self, last: int, attribute: str) -> None:
        self.read = 0
        setattr(self, attribute, [*IMAGES.labels.tolist()[:-1], last])
        self.values = getattr(self, attribute)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read += 1
        return {"pixel_values": IMAGES[index]["pixel_values"], "labels": self.values[index]}


WRONG = [CLASSES, -1, -100]


def last(label: int) -> list[int]:
    return [*IMAGES.labels.tolist()[:-1], label]


SOURCES = {
    "mapped": lambda label: mapped(last(label)),
    "list": lambda label: [
        {"pixel_values": IMAGES[index]["pixel_values"], "labels": value} for index, value in enumerate(last(label))
    ],
    "list of tensors": lambda label: [
        {"pixel_values": IMAGES[index]["pixel_values"], "label": torch.tensor(value)}
        for index, value in enumerate(last(label))
    ],
    "labels": lambda label: Labelled(label, "labels"),
    "targets": lambda label: Labelled(label, "targets"),
    "part": lambda label: Subset(Labelled(label, "targets"), range(15, -1, -1)),
}


class TestLabels:
    @pytest.mark.parametrize("label", WRONG)
    @pytest.mark.parametrize("source", SOURCES)
    def test_training_does_not_begin(self, tmp_path: Path, source: str, label: int) -> None:
        where = 0 if source == "part" else 15
        message = (
            rf"train_dataset has labels outside.*0 to 3: image {where} has {label}, and 1 of 16 in all.*num_labels"
        )
        model = tiny_vit()
        model.register_forward_pre_hook(lambda *_: pytest.fail("a batch was trained on"))
        with pytest.raises(ValueError, match=message):
            tiny_trainer(tmp_path, model=model, train_dataset=SOURCES[source](label)).train()

    def test_training_does_not_begin_with_evaluation_sets_that_would_end_it(self, tmp_path: Path) -> None:
        sets = {"right": Labelled(0, "labels"), "wrong": Labelled(-1, "labels")}
        trainer = tiny_trainer(tmp_path, eval_dataset=sets, eval_strategy="steps", eval_steps=2)
        with pytest.raises(ValueError, match=r"eval_dataset\['wrong'\] has labels outside"):
            trainer.train()
        assert trainer.state.global_step == 0
        tiny_trainer(tmp_path, eval_dataset=sets, max_steps=1).train()

    def test_evaluation_does_not_begin(self, tmp_path: Path) -> None:
        images = Labelled(CLASSES, "labels")
        with pytest.raises(ValueError, match="the evaluation set has labels outside"):
            tiny_trainer(tmp_path, eval_dataset=images, per_device_eval_batch_size=4).evaluate()
        assert images.read == 1

    def test_right_labels_cost_no_image(self, tmp_path: Path) -> None:
        images = Labelled(0, "labels")
        trainer = tiny_trainer(tmp_path, train_dataset=images)
        trainer.check_labels(images, name="images")
        assert images.read == 0

    def test_a_transform_or_a_collator_may_correct_them(self, tmp_path: Path) -> None:
        shifted = (IMAGES.labels + 1).tolist()
        dataset = datasets.Dataset.from_dict(rows(shifted)).with_transform(
            lambda batch: prepared(batch) | {"label": [label - 1 for label in batch["label"]]}
        )
        assert tiny_trainer(tmp_path, train_dataset=dataset, max_steps=1).train().global_step == 1
        wrong = datasets.Dataset.from_dict(rows(shifted)).with_transform(
            lambda batch: prepared(batch) | {"label": batch["label"]}
        )
        with pytest.raises(ValueError, match="image 3 has 4, and 4 of 16 in all"):
            tiny_trainer(tmp_path, train_dataset=wrong).train()
