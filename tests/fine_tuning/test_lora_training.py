"""A run with adapters: continued, best weights, and an ordinary checkpoint at the end of it."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageClassification

from adsr_hf import ADSRTrainer
from adsr_hf.fine_tuning.lora import add_adapters
from adsr_hf.networks.adapted import is_adapted, merged_copy, raw_state
from adsr_hf.networks.weights import STUDENT_FILE, TEACHER_FILE, CheckpointError, load_raw_weights, load_tensors
from adsr_hf.runs.recipe import recipe_from_settings
from adsr_hf.runs.train import train_recipe
from tests.snapshots import Crash, CrashAfter, assert_identical, snapshot
from tests.tiny import TinyImages, tiny_processor, tiny_trainer, tiny_vit
from tests.tiny_runs import SCHEDULE


def lora_trainer(folder: Path, *, seed: int = 0, base: int = 0, **config: Any) -> ADSRTrainer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = add_adapters(tiny_vit(seed=base), rank=2)
    return tiny_trainer(folder, model=model, **(SCHEDULE | {"learning_rate": 2e-2} | config))


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model.eval()(pixel_values=TinyImages(4).pixel_values).logits


def load(folder: Path) -> Any:
    model, report = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert type(model) is type(tiny_vit())
    return model


@pytest.mark.parametrize(
    "config", [{"publish": "teacher", "bf16": True}, {"method": "pgd_at", "attack_precision": "bf16"}]
)
def test_continued_run_equals_the_uninterrupted_one(tmp_path: Path, config: dict[str, Any]) -> None:
    whole = lora_trainer(tmp_path / "whole", **config)
    whole.train()
    with pytest.raises(Crash):
        lora_trainer(tmp_path / "cut", callbacks=[CrashAfter(7)], **config).train()
    # Other initial adapters: what is equal in the end comes from the checkpoint.
    continued = lora_trainer(tmp_path / "cut", seed=99, **config)
    continued.train(resume_from_checkpoint=True)
    assert_identical(snapshot(continued), snapshot(whole))


def test_other_frozen_weights_are_refused(tmp_path: Path) -> None:
    lora_trainer(tmp_path, max_steps=5).train()
    with pytest.raises(CheckpointError, match="frozen_weights was '"):
        lora_trainer(tmp_path, base=1, max_steps=5).train(resume_from_checkpoint=True)


def test_another_rank_is_refused(tmp_path: Path) -> None:
    lora_trainer(tmp_path, max_steps=5).train()
    other = tiny_trainer(tmp_path, model=add_adapters(tiny_vit(), rank=3), **(SCHEDULE | {"max_steps": 5}))
    with pytest.raises(CheckpointError, match=r"does not fit PeftModel.*lora_A.*is \(2, 16\), expected \(3, 16\)"):
        other.train(resume_from_checkpoint=True)


@pytest.mark.parametrize("publish", ["student", "teacher"])
def test_every_checkpoint_is_an_ordinary_one(tmp_path: Path, publish: str) -> None:
    trainer = lora_trainer(tmp_path, publish=publish, max_steps=5)
    trainer.train()
    assert is_adapted(trainer.model)
    trainer.save_model(str(tmp_path / "published"))
    expected = trainer.teacher.model if publish == "teacher" else trainer.model
    for folder in (tmp_path / "published", tmp_path / "checkpoint-5"):
        assert not list(folder.glob("adapter*"))
        torch.testing.assert_close(logits(load(folder)), logits(expected), rtol=0, atol=1e-6)
    assert not torch.allclose(logits(trainer.model), logits(trainer.teacher.model), atol=1e-3)
    frozen = trainer.teacher.model.base_model.model.vit.layernorm.weight
    assert frozen is trainer.model.base_model.model.vit.layernorm.weight


@pytest.mark.parametrize("config", [{}, {"publish": "teacher"}, {"method": "pgd_at", "save_only_model": True}])
def test_the_best_weights_come_back(tmp_path: Path, config: dict[str, Any]) -> None:
    calls = count()
    trainer = lora_trainer(
        tmp_path,
        **{"max_steps": 3, "save_steps": 1, "eval_steps": 1, "load_best_model_at_end": True},
        # The first evaluation is the best one.
        **{"metric_for_best_model": "order", "compute_metrics": lambda _: {"order": -next(calls)}},
        **config,
    )
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert best.name == "checkpoint-1"
    assert not torch.equal(logits(load(best)), logits(load(tmp_path / "checkpoint-3")))
    assert_identical(dict(raw_state(trainer.model)), load_tensors(best / STUDENT_FILE))
    if trainer.teacher is not None:
        assert_identical(trainer.teacher.state_dict(), load_tensors(best / TEACHER_FILE))
    trainer.save_model(str(tmp_path / "published"))
    assert torch.equal(logits(load(tmp_path / "published")), logits(load(best)))


def test_the_card_describes_the_network_that_is_published(tmp_path: Path) -> None:
    facts = lora_trainer(tmp_path).card_facts()
    assert facts.architecture == "ViTForImageClassification"
    assert facts.parameters == sum(parameter.numel() for parameter in tiny_vit().parameters())


def test_a_recipe_with_another_size_and_adapters(tmp_path: Path) -> None:
    tiny_vit().save_pretrained(tmp_path / "start")
    tiny_processor().save_pretrained(tmp_path / "start")
    recipe = recipe_from_settings(
        {
            "output_dir": str(tmp_path / "run"),
            "dataset": "digits",
            "model": str(tmp_path / "start"),
            "image_size": 8,
            "patch_size": 2,
            "lora_rank": 2,
            "lora_targets": ["q_proj", "fc1"],
            "layer_decay": 0.8,
            "max_train_images": 40,
            "max_eval_images": 20,
            "max_steps": 2,
            "attack_steps": 2,
            "eval_attack_steps": 1,
            "per_device_train_batch_size": 20,
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
        }
    )
    run = train_recipe(recipe.config, recipe.data, recipe.model)
    published = AutoModelForImageClassification.from_pretrained(tmp_path / "run")
    assert (published.config.image_size, published.config.patch_size, published.config.num_labels) == (8, 2, 10)
    digits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = run.trainer.model.eval()(pixel_values=digits).logits
        torch.testing.assert_close(published(pixel_values=digits).logits, expected, rtol=0, atol=1e-6)
    # As `adsr evaluate --weights teacher` does.
    load_raw_weights(published, tmp_path / "run" / TEACHER_FILE)
    whole = merged_copy(run.trainer.teacher.model).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in published.state_dict().items())
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"]["lora_targets"] == ["q_proj", "fc1"]
    assert record["config"]["layer_decay"] == 0.8
