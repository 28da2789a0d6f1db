"""Every family that the README names: trains, is published as an ordinary checkpoint; and what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForImageClassification,
    DeiTForImageClassificationWithTeacher,
    ViTForImageClassification,
)
from transformers.modeling_outputs import ImageClassifierOutput

from tests.tiny import FAMILIES, TinyImages, tiny_model, tiny_trainer


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(pixel_values=TinyImages(6, seed=2).pixel_values).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_trains_and_publishes_an_ordinary_checkpoint(tmp_path: Path, family: str) -> None:
    start = tiny_model(family)
    trainer = tiny_trainer(tmp_path, model=tiny_model(family), learning_rate=1e-2)
    assert math.isfinite(trainer.train().training_loss)
    trainer.save_model(str(tmp_path / "published"))
    restored, report = AutoModelForImageClassification.from_pretrained(
        tmp_path / "published", output_loading_info=True
    )
    assert not any(report.values())
    assert type(restored) is type(start)
    assert torch.equal(logits(restored), logits(trainer.model))
    assert not torch.allclose(logits(restored), logits(start), atol=1e-3)
    assert (tmp_path / "published" / "preprocessor_config.json").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_publishing_the_teacher_saves_its_weights(tmp_path: Path, family: str) -> None:
    trainer = tiny_trainer(tmp_path, model=tiny_model(family), publish="teacher", learning_rate=1e-2, method="pgd_at")
    trainer.train()
    trainer.save_model(str(tmp_path / "published"))
    restored = AutoModelForImageClassification.from_pretrained(tmp_path / "published")
    for name, value in trainer.teacher.model.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value)
    assert torch.equal(logits(restored), logits(trainer.teacher.model))
    assert not torch.equal(logits(restored), logits(trainer.model))


@pytest.mark.parametrize("family", FAMILIES)
def test_attack_on_a_bfloat16_copy(tmp_path: Path, family: str) -> None:
    trainer = tiny_trainer(tmp_path, model=tiny_model(family), attack_precision="bf16", max_steps=1)
    trainer.train()
    line = trainer.state.log_history[0]
    assert line["zero_gradient_share"] < 0.05
    assert line["perturbation_norm"] == pytest.approx(8 / 255, rel=0.1)


def test_deit_with_two_heads_is_refused(tmp_path: Path) -> None:
    model = DeiTForImageClassificationWithTeacher(tiny_model("deit").config)
    with pytest.raises(ValueError, match=r"DeiTForImageClassificationWithTeacher averages two heads.*train DeiTFor"):
        tiny_trainer(tmp_path, model=model)


class TwoHeads(ViTForImageClassification):
    """A head for the class and one for its distillation, side by side."""

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> ImageClassifierOutput:
        output = super().forward(pixel_values=pixel_values, **kwargs)
        return ImageClassifierOutput(logits=(output.logits, output.logits))


@pytest.mark.parametrize("method", ["clean", "pgd_at", "adsr"])
def test_a_head_with_a_tuple_of_logits_is_refused(tmp_path: Path, method: str) -> None:
    trainer = tiny_trainer(tmp_path, model=TwoHeads(tiny_model("vit").config), method=method)
    with pytest.raises(ValueError, match=r"output\.logits must be a tensor of shape \(B, 4\), got tuple.*wrap"):
        trainer.train()


def test_evaluation_refuses_it_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"output\.logits must be a tensor of shape \(B, 4\), got tuple"):
        tiny_trainer(tmp_path, model=TwoHeads(tiny_model("vit").config)).evaluate()
