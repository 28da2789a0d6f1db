"""A run that is cut off and continued is the run that was never cut off."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from tests.snapshots import Crash, CrashAfter, assert_identical, snapshot, tree_of
from tests.tiny import tiny_trainer, tiny_vit
from tests.tiny_runs import AugmentedImages, Case

CASES = {
    "adsr": Case(),
    "pgd_at": Case(method="pgd_at"),
    "ikl": Case(method="ikl"),
    "labels that follow the teacher": Case(labels_follow="teacher", epsilon_zero_share=0.2, epsilon_ramp_share=0.4),
    "accumulation": Case(per_device_train_batch_size=4, gradient_accumulation_steps=2),
    "ragged accumulation": Case(per_device_train_batch_size=5, gradient_accumulation_steps=2),
    "bf16": Case(bf16=True),
    "dropout in a train-mode attack": Case(
        model={"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}, attack_mode="train"
    ),
    "bf16 copy": Case(attack_precision="bf16"),
    "published teacher": Case(publish="teacher"),
    "batch statistics": Case(family="resnet", attack_mode="train"),
    "augmentation": Case(data=AugmentedImages),
    "augmentation in a worker": Case(data=AugmentedImages, dataloader_num_workers=1),
    "augmentation in a lasting worker": Case(
        data=AugmentedImages, dataloader_num_workers=1, dataloader_persistent_workers=True
    ),
    "start of an epoch": Case(save_steps=4, eval_steps=4),
}


# Workers that last for the whole run take seconds to go.
# "augmentation in a worker" continues the same augmentation as "augmentation" does.
SLOW = {"augmentation", "augmentation in a lasting worker"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[pytest.mark.slow] if name in SLOW else []) for name, case in CASES.items()],
)
def test_continued_run_equals_the_uninterrupted_one(tmp_path: Path, case: Case) -> None:
    whole = case.trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Crash):
        case.trainer(tmp_path / "cut", callbacks=[CrashAfter(7)]).train()
    # Other initial weights: what is equal in the end comes from the checkpoint.
    continued = case.trainer(tmp_path / "cut", seed=99)
    continued.train(resume_from_checkpoint=True)
    assert_identical(snapshot(continued), snapshot(whole))
    for name, figure in whole.evaluate().items():
        if name.startswith("eval_") and "runtime" not in name and "per_second" not in name:
            assert continued.evaluate()[name] == figure, name


def test_augmentation_sees_the_epoch_in_every_batch(tmp_path: Path) -> None:
    class Witness(AugmentedImages):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def __getitem__(self, index: int) -> dict[str, Any]:
            self.seen.append(int(self.epoch))
            return super().__getitem__(index)

    case = Case(data=Witness)
    with pytest.raises(Crash):
        case.trainer(tmp_path, callbacks=[CrashAfter(7)]).train()
    continued = case.trainer(tmp_path)
    continued.train(resume_from_checkpoint=True)
    # Steps 6, 7 and 8 of epoch 1, and step 9, which ends the run, with the batch that was fetched ahead.
    assert continued.train_dataset.seen == [1] * 24 + [2] * 16


def test_the_loss_of_a_continued_run_is_the_mean_over_its_own_steps(tmp_path: Path) -> None:
    case = Case(logging_steps=1)
    whole = case.trainer(tmp_path / "whole")
    whole.train()
    losses = [line["loss"] for line in whole.state.log_history if "loss" in line]
    cut = Case(logging_steps=2)
    with pytest.raises(Crash):
        cut.trainer(tmp_path / "cut", callbacks=[CrashAfter(7)]).train()
    output = cut.trainer(tmp_path / "cut").train(resume_from_checkpoint=True)
    assert output.training_loss == pytest.approx(sum(losses[5:]) / 4, rel=1e-5)


@pytest.mark.parametrize("max_steps", [6, 8])
def test_a_finished_run_takes_no_further_step(tmp_path: Path, max_steps: int) -> None:
    case = Case(max_steps=max_steps, save_steps=2, eval_steps=2, load_best_model_at_end=True)
    whole = case.trainer(tmp_path)
    whole.train()
    before = tree_of(tmp_path)
    again = case.trainer(tmp_path, seed=99)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == max_steps
    assert_identical(dict(again.model.state_dict()), dict(whole.model.state_dict()))
    assert_identical(again.teacher.state_dict(), whole.teacher.state_dict())
    assert tree_of(tmp_path) == before


def test_a_second_run_from_model_init_repeats_the_first(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, model_init=lambda: tiny_vit(), save_strategy="steps", save_steps=2)
    trainer.train()
    first, teacher = snapshot(trainer), trainer.teacher
    trainer.train()
    assert trainer.teacher is not teacher
    assert_identical(snapshot(trainer), first)


def test_the_teacher_starts_again_when_the_batch_size_is_lowered(tmp_path: Path) -> None:
    class TooSmall(ADSRTrainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
            if self.state.global_step == 1 and len(inputs["labels"]) == 8:
                raise RuntimeError("CUDA out of memory.")
            return super().training_step(model, inputs, *args, **kwargs)

    class AtStart(TrainerCallback):
        def __init__(self) -> None:
            self.teachers: list[Any] = []

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            assert_identical(trainer.teacher.state_dict(), dict(trainer.model.state_dict()))
            generator = trainer.run.method_step.attack.generator
            self.teachers.append((trainer.teacher, trainer.teacher.state_dict(), generator.get_state()))

    at_start = AtStart()
    trainer = tiny_trainer(tmp_path, trainer_class=TooSmall, auto_find_batch_size=True, callbacks=[])
    trainer.add_callback(at_start)
    trainer.train()
    (first, before, first_generator), (second, _, second_generator) = at_start.teachers
    assert trainer.state.global_step == 3
    assert first is not second
    assert trainer.teacher is second
    assert torch.equal(first_generator, second_generator)
    # The second entry begins from weights that one step has moved.
    assert any(not torch.equal(second.state_dict()[name], tensor) for name, tensor in before.items())
