"""docs/fine_tuning.md from its first command to its last, on a checkpoint that plain transformers trained."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from adsr_hf import ADSRConfig, ADSRTrainer
from adsr_hf.cli.main import main

ROOT = Path(__file__).parents[2]
CLASSES, SIDE = ("good", "scratched"), 16
QUICK = {
    "train": "--max_steps 6 --per_device_train_batch_size 8 --eval_attack_steps 1 --attack_steps 1 --use_cpu true "
    "--report_to none --disable_tqdm true",
    "evaluate": "--attack_steps 2",
}
# Promote, keep, or not decidable: all three are answers.
DECIDED = {"gate": {0, 2, 3}}


def picture(label: int, generator: np.random.Generator) -> np.ndarray:
    """(16, 16, 3) uint8: one class is brighter above, the other below."""
    pixels = generator.integers(60, 120, (SIDE, SIDE, 3))
    pixels[(slice(None, 8), slice(8, None))[label]] += 90
    return pixels.astype(np.uint8)


def prepared(processor: Any, *, seed: int, number: int) -> Any:
    """So many rows of each class, as Trainer takes them."""
    generator = np.random.default_rng(seed)
    images = [(Image.fromarray(picture(label, generator)), label) for label in (0, 1) * number]
    return [{"pixel_values": processor(images=image)["pixel_values"][0], "labels": label} for image, label in images]


def write_photos(root: Path) -> None:
    generator = np.random.default_rng(0)
    for split, number in (("train", 24), ("test", 12)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(number):
                Image.fromarray(picture(label, generator)).save(folder / f"{index}.png")


def train_without_us(folder: Path) -> None:
    """What a company has in house: transformers' own Trainer, other classes, saved with its processor."""
    processor = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    config = ViTConfig(
        image_size=SIDE,
        patch_size=4,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=2,
        id2label={0: "above", 1: "below"},
        label2id={"above": 0, "below": 1},
    )
    torch.manual_seed(0)
    generator = np.random.default_rng(1)
    rows: Any = [
        {
            "pixel_values": processor(images=Image.fromarray(picture(label, generator)))["pixel_values"][0],
            "labels": label,
        }
        for label in (0, 1) * 16
    ]
    arguments = TrainingArguments(
        output_dir=str(folder / "run"), max_steps=8, report_to="none", use_cpu=True, save_strategy="no"
    )
    trainer = Trainer(ViTForImageClassification(config), arguments, train_dataset=rows, processing_class=processor)
    trainer.train()
    trainer.save_model(str(folder))


def commands() -> list[list[str]]:
    text = (ROOT / "docs" / "fine_tuning.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    return [shlex.split(line) for line in blocks.replace("\\\n", " ").splitlines() if line]


def test_the_page_has_a_command_for_each_step() -> None:
    assert {words[1] for words in commands()} == {"train", "evaluate", "compare", "gate", "report"}
    assert all(words[0] == "adsr" for words in commands())


def test_every_command_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    write_photos(tmp_path / "PHOTOS")
    train_without_us(tmp_path / "CHECKPOINT")
    for words in commands():
        command = words[1]
        status = main([*words[1:], *shlex.split(QUICK.get(command, ""))])
        assert status in DECIDED.get(command, {0}), words
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "decision.json").is_file()
    published = AutoModelForImageClassification.from_pretrained(tmp_path / "runs" / "robust")
    assert published.config.id2label == dict(enumerate(CLASSES))


def test_the_same_checkpoint_is_fine_tuned_from_a_script(tmp_path: Path) -> None:
    train_without_us(tmp_path / "CHECKPOINT")
    processor = ViTImageProcessorPil.from_pretrained(tmp_path / "CHECKPOINT")
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "CHECKPOINT")
    generator = np.random.default_rng(0)
    rows: Any = [
        {
            "pixel_values": processor(images=Image.fromarray(picture(label, generator)))["pixel_values"][0],
            "labels": label,
        }
        for label in (0, 1) * 8
    ]
    config = ADSRConfig(
        output_dir=str(tmp_path / "run"),
        preset="fine_tune",
        epsilon="4/255",
        max_steps=10,
        use_cpu=True,
        report_to="none",
        per_device_train_batch_size=8,
        logging_steps=1,
        attack_steps=1,
        calibrate="none",
    )
    trainer = ADSRTrainer(model, config, train_dataset=rows, processing_class=processor)
    trainer.train()
    radii = [entry["epsilon"] for entry in trainer.state.log_history if "epsilon" in entry]
    assert radii[0] == 0
    assert radii == sorted(radii)
    assert radii[-1] == pytest.approx(4 / 255)
