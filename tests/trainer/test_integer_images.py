"""Images of whole grey levels are trained on as they were attacked and mixed, not cut down to grey levels again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adsr_hf.attacks import PixelSpace
from tests.recording import RecordingTrainer
from tests.tiny import TinyImages, tiny_config, tiny_vit


class _GreyLevels(TinyImages):
    """Images as a processor without rescaling and normalisation leaves them: integers from 0 to 255."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        levels = (self.pixels[index] * 255).round().to(torch.uint8)
        return {"pixel_values": levels, "labels": int(self.labels[index])}


def trained(folder: Path, **config: Any) -> RecordingTrainer:
    settings = {"method": "pgd_at", "attack_random_start": False, "max_steps": 1}
    trainer = RecordingTrainer(
        tiny_vit(),
        tiny_config(folder, **(settings | config)),
        train_dataset=_GreyLevels(),
        pixel_space=PixelSpace(mean=(0.0,), std=(1.0,), scale=255.0),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("epsilon", ["8/255", "0.6/255"])
def test_what_is_trained_on_is_what_the_attack_found(tmp_path: Path, epsilon: str) -> None:
    trainer = trained(tmp_path, epsilon=epsilon, attack_steps=1, attack_step_size=epsilon)
    done = trainer.micro_batches[0]
    clean = done.inputs["pixel_values"]
    assert clean.dtype == torch.uint8
    leaf = clean.float().requires_grad_()
    loss = nn.functional.cross_entropy(done.student.eval()(pixel_values=leaf).logits, done.inputs["labels"])
    (gradient,) = torch.autograd.grad(loss, leaf)
    expected = (clean + 255 * trainer.args.epsilon * gradient.sign()).clamp(0, 255)
    torch.testing.assert_close(done.seen, expected, rtol=0, atol=1e-4)


def test_mixed_images_keep_what_lies_between_grey_levels(tmp_path: Path) -> None:
    trainer = trained(tmp_path, method="clean", mixup=1.0)
    seen = trainer.micro_batches[0].seen
    assert seen.dtype == torch.float32
    assert (seen - seen.round()).abs().max() > 0.1
