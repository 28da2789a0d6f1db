"""Every image-classification class of transformers trains, or is refused before anything is computed."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PPLCNetForImageClassification
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from adsr_hf import ADSRTrainer
from adsr_hf.networks.classifier import check_trainable
from adsr_hf.networks.pretrained import PretrainedError, load_classifier
from adsr_hf.runs.model import load_processor
from adsr_hf.settings.model import ModelArguments
from tests.families import REFUSED, TRAINED, build
from tests.tiny import CHECKPOINTING, SIZE, TinyImages, tiny_trainer

# One of each kind: plain, hierarchical and pooled attention, convolutions with and without it, two towers,
# and what is derived from weights.
_IN_EVERY_RUN = {
    "CvtForImageClassification",
    "EfficientNetForImageClassification",
    "HieraForImageClassification",
    "LevitForImageClassification",
    "MobileViTForImageClassification",
    "PvtV2ForImageClassification",
    "RegNetForImageClassification",
    "SegformerForImageClassification",
    "SiglipForImageClassification",
    "Swinv2ForImageClassification",
    "ViTMSNForImageClassification",
}


def classes(*, checkpoints: bool = False) -> list[Any]:
    """Names of the classes that train, all but a dozen of them marked slow, those without their package skipped."""
    found = []
    for name, family in TRAINED.items():
        marks = [] if name in _IN_EVERY_RUN else [pytest.mark.slow]
        if family.needs is not None and find_spec(family.needs) is None:
            marks.append(pytest.mark.skip(f"needs {family.needs}"))
        if family.checkpoints or not checkpoints:
            found.append(pytest.param(name, marks=marks))
    return found


class Images(TinyImages):
    """Of the size that a class needs."""

    def __init__(self, name: str) -> None:
        super().__init__(8)
        self.pixel_values = nn.functional.interpolate(self.pixel_values, scale_factor=TRAINED[name].side // SIZE)


def trained(folder: Path, name: str, **settings: Any) -> ADSRTrainer:
    images = Images(name)
    few = {"per_device_train_batch_size": 4, "max_steps": 1, "attack_steps": 1, "eval_attack_steps": 1}
    trainer = tiny_trainer(folder, model=build(name), train_dataset=images, eval_dataset=images, **(few | settings))
    assert math.isfinite(trainer.train().training_loss)
    return trainer


@torch.no_grad()
def logits(model: nn.Module, name: str) -> Tensor:
    values = Images(name).pixel_values[:4].to(next(model.parameters()).dtype)
    return model(pixel_values=values).logits


def fresh(name: str, model: Any) -> nn.Module:
    """A new network with the same weights, in eval mode."""
    new = build(name, seed=9).to(model.dtype)
    new.set_attn_implementation(model.config._attn_implementation)
    new.load_state_dict(model.state_dict())
    return new.eval()


def test_every_class_of_transformers_is_trained_or_refused() -> None:
    names = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.values()
    known = {name for some in names for name in ((some,) if isinstance(some, str) else some)}
    assert known == TRAINED.keys() | REFUSED.keys()
    assert not TRAINED.keys() & REFUSED.keys()
    assert TRAINED.keys() > _IN_EVERY_RUN


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_train_is_refused_at_once(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=REFUSED[name]):
        tiny_trainer(tmp_path, model=build(name))


@pytest.mark.parametrize("model_type", ["imagegpt", "pp_lcnet", "shieldgemma2", "siglip2"])
def test_a_type_that_does_not_fit_is_refused_before_data_are_read(model_type: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"model_type='{model_type}' .* use another type, such as vit"):
        load_processor(ModelArguments(model_type=model_type, image_size=16))
    name = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[model_type]
    build(name).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"is not loaded: model_type='{model_type}'"):
        load_processor(ModelArguments(model=str(tmp_path)))
    with pytest.raises(PretrainedError, match=f"model_type='{model_type}'"):
        load_classifier(tmp_path)


def test_a_class_around_one_that_does_not_fit_is_taken() -> None:
    class WithLogits(PPLCNetForImageClassification):
        def forward(self, pixel_values: Tensor, **kwargs: Any) -> ImageClassifierOutput:
            return ImageClassifierOutput(logits=super().forward(pixel_values, **kwargs).last_hidden_state)

    plain = build("PPLCNetForImageClassification")
    with pytest.raises(ValueError, match="no logits"):
        check_trainable(plain)
    check_trainable(WithLogits(plain.config))


@pytest.mark.parametrize("name", classes())
def test_a_clean_step(name: str, tmp_path: Path) -> None:
    trainer = trained(tmp_path, name, method="clean")
    before = build(name).state_dict()
    after = trainer.model.state_dict()
    assert any(not torch.equal(after[key], before[key]) for key in after)


@pytest.mark.parametrize("name", classes())
def test_attacked_steps_with_teacher_and_copy(name: str, tmp_path: Path) -> None:
    """The copy is made anew after the first step; the evaluation measures student and teacher."""
    trainer = trained(tmp_path, name, max_steps=2, attack_precision="bf16", learning_rate=0.01, teacher_decay=0.5)
    line = trainer.state.log_history[0]
    assert line["zero_gradient_share"] < 0.5
    assert 0 < line["perturbation_norm"] <= 8 / 255 + 1e-6
    figures = trainer.evaluate()
    assert math.isfinite(figures["eval_loss"])
    for prefix in ("eval_", "eval_teacher_"):
        assert 0 <= figures[f"{prefix}robust_accuracy"] <= figures[f"{prefix}accuracy"] <= 1
    for network in (trainer.model.eval(), trainer.teacher.model, trainer.run.method_step.attack._copy.model):
        torch.testing.assert_close(logits(network, name), logits(fresh(name, network), name))


@pytest.mark.parametrize("name", classes())
def test_an_attacked_step_in_bfloat16(name: str, tmp_path: Path) -> None:
    trainer = trained(tmp_path, name, bf16=True)
    torch.testing.assert_close(logits(trainer.teacher.model, name), logits(fresh(name, trainer.teacher.model), name))


@pytest.mark.parametrize("name", classes(checkpoints=True))
def test_activation_checkpointing_changes_nothing(name: str, tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", name)
    checkpointed = trained(tmp_path / "checkpointed", name, **{CHECKPOINTING: True})
    assert checkpointed.state.log_history[0]["loss"] == pytest.approx(plain.state.log_history[0]["loss"], rel=1e-4)
    for theirs, own in zip(plain.model.parameters(), checkpointed.model.parameters(), strict=True):
        torch.testing.assert_close(theirs, own, atol=1e-3, rtol=1e-3)
