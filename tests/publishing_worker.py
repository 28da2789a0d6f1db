"""Trains tiny models and pushes them to the Hub of HF_ENDPOINT: ``python -m tests.publishing_worker FOLDER TOKEN``.

A process of its own, since the Hub client reads its settings once, when it is imported. What it found goes to
``FOLDER/result.json`` and ``FOLDER/logits.safetensors``.
"""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback
from transformers.utils.hub import hf_api

from adsr_hf import ADSRTrainer
from adsr_hf.cli.main import main as adsr
from adsr_hf.publishing.card_facts import DataDescription
from adsr_hf.publishing.hub import PublishingError
from tests.tiny import TinyImages, tiny_processor, tiny_trainer, tiny_vit

WRONG_TOKEN = "hf_wrong"
NOBODY = "http://127.0.0.1:9"
RECIPE = """
method: pgd_at
dataset: digits
max_train_images: 40
max_eval_images: 30
model_type: vit
image_size: 8
model_config: {patch_size: 4, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
attack_steps: 1
eval_attack_steps: 2
max_steps: 2
use_cpu: true
report_to: none
disable_tqdm: true
save_strategy: "no"
push_to_hub: true
"""


class NoteLogits(TrainerCallback):
    """Logits of the published weights at each checkpoint, by step."""

    def __init__(self) -> None:
        self.logits: dict[int, Tensor] = {}
        self.trainer: ADSRTrainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.logits[state.global_step] = logits_of(self.trainer, TinyImages(8).pixel_values)


def logits_of(trainer: ADSRTrainer, pixel_values: Tensor) -> Tensor:
    model = trainer.published_model()
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(pixel_values=pixel_values).logits
    model.train(was_training)
    return logits


def train_and_push(folder: Path, name: str, token: str, **config: Any) -> dict[str, Tensor]:
    """Push at every checkpoint and at the end; returns the logits of each push on TinyImages(8), and on a file."""
    note = NoteLogits()
    (folder / name).mkdir()
    for stray in ("run.json", "private.txt"):
        (folder / name / stray).write_text("of nobody's concern")
    trainer = tiny_trainer(
        folder / name,
        callbacks=[note],
        push_to_hub=True,
        hub_model_id=f"tester/{name}",
        hub_token=token,
        hub_strategy="every_save",
        hub_always_push=True,
        max_steps=4,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=2,
        save_steps=2,
        learning_rate=1e-2,
        **config,
    )
    note.trainer = trainer
    trainer.data_description = DataDescription("patterns in noise", "32 train images, 4 classes")
    trainer.train()
    trainer.evaluate(TinyImages(20, seed=5), metric_key_prefix="test")
    trainer.push_to_hub()
    image = Image.open(folder / "image.png")
    seen = tiny_processor()(image, return_tensors="pt")["pixel_values"]
    logits = {f"{name} step {step}": value for step, value in note.logits.items()}
    logits[f"{name} end"] = logits_of(trainer, TinyImages(8).pixel_values)
    return logits | {f"{name} image": logits_of(trainer, seen)}


def message_of(work: Callable[[], Any]) -> str:
    try:
        work()
    except PublishingError as error:
        return str(error)
    return "no error"


def refused(folder: Path) -> dict[str, str]:
    """What is said when the Hub does not take the token: before training, at the end, and for another's repository."""
    start = message_of(lambda: tiny_trainer(folder / "start", push_to_hub=True, hub_token=WRONG_TOKEN))
    trainer = tiny_trainer(folder / "refused", hub_model_id="tester/refused")
    trainer.train()
    end = message_of(lambda: trainer.push_to_hub(token=WRONG_TOKEN))
    trainer.args.hub_model_id = "tester/student"
    return {"start": start, "end": end, "existing": message_of(lambda: trainer.push_to_hub(token=WRONG_TOKEN))}


def unreachable(folder: Path, token: str) -> dict[str, Any]:
    """The Hub goes away after the repository was created."""
    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("adsr_hf.publishing.publisher").addHandler(handler)
    trainer = tiny_trainer(
        folder / "unreachable",
        push_to_hub=True,
        hub_model_id="tester/unreachable",
        hub_token=token,
        hub_strategy="every_save",
        save_strategy="steps",
        save_steps=2,
    )
    endpoint, hf_api().endpoint = hf_api().endpoint, NOBODY
    try:
        steps = trainer.train().global_step
        message = message_of(trainer.push_to_hub)
    finally:
        hf_api().endpoint = endpoint
    return {"message": message, "warnings": warnings, "steps": steps}


def main(folder: Path, token: str) -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    logits = train_and_push(folder, "student", token)
    teacher = {"publish": "teacher", "model": tiny_vit(seed=3), "load_best_model_at_end": True}
    logits |= train_and_push(folder, "teacher", token, **teacher)
    save_file(logits, folder / "logits.safetensors")
    (folder / "recipe.yaml").write_text(RECIPE)
    recipe = str(folder / "recipe.yaml")
    status = {
        name: adsr(
            [
                "train",
                recipe,
                "--output_dir",
                str(folder / name),
                "--hub_model_id",
                f"tester/{name}",
                "--hub_token",
                one,
            ]
        )
        for name, one in (("digits", token), ("digits-refused", WRONG_TOKEN))
    }
    result = {"adsr": status, "refused": refused(folder), "unreachable": unreachable(folder, token)}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
