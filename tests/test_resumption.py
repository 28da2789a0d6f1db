"""A run that is cut off and continued is the run that was never cut off."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.checkpoints import CheckpointError, checkpoint_folders, verify_checkpoint
from tests.snapshots import Crash, CrashAfter, assert_identical, snapshot, tree_of
from tests.tiny import TinyImages, tiny_model, tiny_trainer, tiny_vit

# 4 steps an epoch: checkpoint-5 lies inside the second epoch, and between two log lines.
SCHEDULE: dict[str, Any] = {
    "max_steps": 9,
    "logging_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 5,
    "save_strategy": "steps",
    "save_steps": 5,
    "learning_rate": 3e-3,
}


class AugmentedImages(TinyImages):
    """Images rolled by a number of pixels that depends on (epoch, index) alone."""

    def __init__(self, length: int = 32) -> None:
        super().__init__(length)
        # Shared with workers that outlive an epoch.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = super().__getitem__(index)
        shift = (7 * int(self.epoch) + index) % 16
        return example | {"pixel_values": example["pixel_values"].roll(shift, dims=-1)}


class Case:
    """One configuration: how its trainer is built."""

    def __init__(self, *, family: str = "vit", model: dict[str, Any] | None = None, data: Any = None, **config: Any):
        self.family, self.model, self.data, self.config = family, model or {}, data, config

    def trainer(self, folder: Path, *, seed: int = 0, callbacks: list[Any] | None = None) -> ADSRTrainer:
        return tiny_trainer(
            folder,
            model=tiny_model(self.family, seed=seed, **self.model),
            train_dataset=self.data() if self.data is not None else None,
            callbacks=callbacks,
            **(SCHEDULE | self.config),
        )


CASES = {
    "adsr": Case(),
    "pgd_at": Case(method="pgd_at"),
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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
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


# ---- the best checkpoint --------------------------------------------------------------------------------------------


class Scripted:
    """Metrics that make the second of three evaluations the best one."""

    def __init__(self) -> None:
        self.values = iter([0.1, 0.9, 0.5, 0.0])

    def __call__(self, prediction: Any) -> dict[str, float]:
        return {"scripted": next(self.values)}


class Remember(TrainerCallback):
    """Snapshots of student and teacher at every checkpoint."""

    def __init__(self) -> None:
        self.trainer: ADSRTrainer | None = None
        self.states: dict[int, Any] = {}

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer is not None
        self.states[state.global_step] = snapshot(self.trainer)


@pytest.mark.parametrize("publish", ["student", "teacher"])
@pytest.mark.parametrize("save_total_limit", [None, 1])
def test_the_best_student_and_the_best_teacher_come_back(
    tmp_path: Path, publish: str, save_total_limit: int | None
) -> None:
    remember = Remember()
    trainer = tiny_trainer(
        tmp_path,
        compute_metrics=Scripted(),
        callbacks=[remember],
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="scripted",
        publish=publish,
        save_total_limit=save_total_limit,
    )
    remember.trainer = trainer
    trainer.train()
    assert_identical(dict(trainer.model.state_dict()), remember.states[4]["student"])
    assert_identical(trainer.teacher.state_dict(), remember.states[4]["teacher"])
    kept = [folder.name for folder in checkpoint_folders(tmp_path)]
    assert kept == (["checkpoint-4"] if save_total_limit else ["checkpoint-2", "checkpoint-4", "checkpoint-6"])
    saved = tiny_vit(seed=5).from_pretrained(tmp_path / "checkpoint-4").state_dict()
    network = trainer.teacher.model if publish == "teacher" else trainer.model
    assert_identical(dict(saved), dict(network.state_dict()))


def test_only_improvements_are_kept_with_save_strategy_best(tmp_path: Path) -> None:
    trainer = tiny_trainer(
        tmp_path,
        compute_metrics=Scripted(),
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="best",
        metric_for_best_model="scripted",
    )
    trainer.train()
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-2", "checkpoint-4"]
    for folder in checkpoint_folders(tmp_path):
        verify_checkpoint(folder)


# ---- re-entering training -------------------------------------------------------------------------------------------


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
            self.teachers.append((trainer.teacher, trainer.teacher.state_dict(), trainer.attack_generator.get_state()))

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


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of two epochs with checkpoint-4 and checkpoint-8; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    Case(max_steps=-1, num_train_epochs=2, save_strategy="epoch", eval_strategy="no").trainer(folder).train()
    before = tree_of(folder)
    yield folder
    assert tree_of(folder) == before


def _two_epochs(folder: Path, **changed: Any) -> ADSRTrainer:
    config = {"max_steps": -1, "num_train_epochs": 2, "save_strategy": "epoch", "eval_strategy": "no"}
    return Case(**(config | changed)).trainer(folder)


@pytest.mark.parametrize(
    ("changed", "was", "now"),
    [
        ({"epsilon": "4/255"}, "epsilon was 0.0313", "now 0.0156"),
        ({"method": "pgd_at"}, "method was 'adsr'", "now 'pgd_at'"),
        ({"num_train_epochs": 3}, "total_steps was 8", "now 12"),
        ({"teacher_decay": 0.5}, "teacher_decay was 0.9", "now 0.5"),
        ({"attack_step_size": "2/255"}, "attack_step_size was None", "now 0.0078"),
        ({"seed": 3}, "seed was 0", "now 3"),
    ],
)
def test_other_settings_are_refused_with_both_values(
    finished: Path, changed: dict[str, Any], was: str, now: str
) -> None:
    with pytest.raises(CheckpointError) as error:
        _two_epochs(finished, **changed).train(resume_from_checkpoint=str(finished / "checkpoint-4"))
    assert was in str(error.value)
    assert now in str(error.value)


def test_settings_of_evaluation_may_change(finished: Path) -> None:
    trainer = _two_epochs(finished, eval_attack_steps=5, evaluate_weights="student", epsilon=8 / 255)
    trainer.train(resume_from_checkpoint=str(finished / "checkpoint-8"))
    assert trainer.state.global_step == 8


def test_a_folder_that_holds_another_run_is_refused(finished: Path) -> None:
    with pytest.raises(FileExistsError, match=r"holds another run \(checkpoint-8\).*resume_from_checkpoint=True"):
        _two_epochs(finished).train()


def test_nothing_to_continue_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no finished checkpoint"):
        _two_epochs(tmp_path).train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match="checkpoint-3 does not exist"):
        _two_epochs(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


def test_one_trainer_may_train_twice(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, save_strategy="steps", save_steps=1, max_steps=2)
    trainer.train()
    trainer.train()
    assert trainer.state.global_step == 2
    for folder in checkpoint_folders(tmp_path):
        verify_checkpoint(folder)


@pytest.mark.parametrize("method", ["pgd_at", "adsr"])
def test_weights_alone_are_not_enough_to_continue(tmp_path: Path, method: str) -> None:
    case = Case(method=method, save_only_model=True, max_steps=5, eval_strategy="no")
    case.trainer(tmp_path).train()
    verify_checkpoint(tmp_path / "checkpoint-5")
    before = tree_of(tmp_path)
    with pytest.raises(CheckpointError, match=r"no optimizer\.pt, scheduler\.pt.*save_only_model=True"):
        case.trainer(tmp_path).train(resume_from_checkpoint=True)
    assert tree_of(tmp_path) == before


# ---- what is saved, and when ----------------------------------------------------------------------------------------


def test_diverging_training_stops_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    trainer = tiny_trainer(
        tmp_path, max_steps=20, save_strategy="steps", save_steps=1, learning_rate=1e20, max_grad_norm=0.0
    )
    with pytest.raises(FloatingPointError, match=r"at step \d+"):
        trainer.train()
    for folder in checkpoint_folders(tmp_path):
        verify_checkpoint(folder)
        assert all(tensor.isfinite().all() for tensor in tiny_vit().from_pretrained(folder).state_dict().values())


class Poison(TrainerCallback):
    """Destroys one weight at the end of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.step:
            model.classifier.weight.data[0, 0] = float("nan")


@pytest.mark.parametrize("save_steps", [1, 2])
def test_destroyed_weights_are_never_saved(tmp_path: Path, save_steps: int) -> None:
    """With save_steps=1 saving notices, with 2 the loss of the next step does."""
    trainer = tiny_trainer(
        tmp_path,
        max_steps=8,
        save_strategy="steps",
        save_steps=save_steps,
        callbacks=[Poison(3 if save_steps == 2 else 2)],
    )
    with pytest.raises(FloatingPointError, match=r"at step (2|3)"):
        trainer.train()
    newest = checkpoint_folders(tmp_path)[-1]
    assert newest.name == ("checkpoint-2" if save_steps == 2 else "checkpoint-1")
    verify_checkpoint(newest)


def test_weights_destroyed_by_the_last_step_do_not_replace_a_saved_model(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, max_steps=2, callbacks=[Poison(2)])
    trainer.save_model()
    before = tree_of(tmp_path)
    trainer.train()
    with pytest.raises(FloatingPointError, match="at step 2; nothing was saved"):
        trainer.save_model()
    assert tree_of(tmp_path) == before


def test_the_hub_token_is_in_no_file(tmp_path: Path) -> None:
    token = "hf_ThisMustNeverBeWritten"
    trainer = tiny_trainer(
        tmp_path,
        hub_token=token,
        save_strategy="steps",
        save_steps=2,
        report_to=["tensorboard"],
        publish="teacher",
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "final"))
    trainer.save_state()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in files)
    assert any("tfevents" in path.name for path in files)
    assert not [path for path in files if token.encode() in path.read_bytes()]
    assert trainer.args.hub_token == token


def test_a_checkpoint_records_the_arguments_that_the_user_gave(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, save_strategy="steps", save_steps=1, save_total_limit=2)
    trainer.train()
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
    saved = torch.load(tmp_path / "checkpoint-3" / "training_args.bin", weights_only=False)
    assert saved.save_total_limit == 2
    assert saved.epsilon == trainer.args.epsilon


def test_only_sealed_checkpoints_are_pushed(tmp_path: Path) -> None:
    class Pushing(ADSRTrainer):
        pushed: tuple[str, ...] = ()

        def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
            self.hub_model_id = "user/model"

        def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
            verify_checkpoint(Path(checkpoint_folder))
            self.pushed += (Path(checkpoint_folder).name,)

    trainer = tiny_trainer(tmp_path, trainer_class=Pushing, push_to_hub=True, save_strategy="steps", save_steps=1)
    trainer.train()
    assert trainer.pushed == ("checkpoint-1", "checkpoint-2", "checkpoint-3")
    assert torch.load(tmp_path / "checkpoint-3" / "training_args.bin", weights_only=False).push_to_hub


def test_older_checkpoints_go_only_once_the_new_one_is_sealed(tmp_path: Path, monkeypatch: Any) -> None:
    trainer = tiny_trainer(tmp_path, save_strategy="steps", save_steps=1, save_total_limit=1)
    replace = os.replace

    def full_disk(source: Any, target: Any) -> None:
        if str(target).endswith("checkpoint-2/manifest.json"):
            raise OSError("No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        trainer.train()
    verify_checkpoint(tmp_path / "checkpoint-1")
    monkeypatch.undo()
    continued = tiny_trainer(tmp_path, save_strategy="steps", save_steps=1, save_total_limit=1)
    continued.train(resume_from_checkpoint=True)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-3"]
    verify_checkpoint(tmp_path / "checkpoint-3")


def test_an_unfinished_folder_is_passed_over_and_written_anew(tmp_path: Path, caplog: Any) -> None:
    case = Case(save_steps=2, eval_steps=2)
    whole = case.trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Crash):
        case.trainer(tmp_path / "cut", callbacks=[CrashAfter(7)]).train()
    unfinished = tmp_path / "cut" / "checkpoint-6"
    (unfinished / "manifest.json").unlink()
    (unfinished / ".manifest.json.partial").write_text("{")
    (unfinished / "model-00001-of-00002.safetensors").write_bytes(b"left over")
    with pytest.raises(CheckpointError, match=r"checkpoint-6 has no manifest\.json: it was not finished"):
        case.trainer(tmp_path / "cut").train(resume_from_checkpoint=str(unfinished))
    continued = case.trainer(tmp_path / "cut")
    caplog.set_level("WARNING", logger="adsr_hf.checkpoints")
    continued.train(resume_from_checkpoint=True)
    assert "checkpoint-6 was not finished and is passed over" in caplog.text
    assert_identical(snapshot(continued), snapshot(whole))
    for folder in checkpoint_folders(tmp_path / "cut"):
        verify_checkpoint(folder)
    assert not (unfinished / "model-00001-of-00002.safetensors").exists()


def test_a_damaged_checkpoint_is_refused_and_left_alone(tmp_path: Path) -> None:
    case = Case(max_steps=5, eval_strategy="no")
    case.trainer(tmp_path).train()
    weights = tmp_path / "checkpoint-5" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    before = tree_of(tmp_path)
    for requested in (True, str(weights.parent)):
        with pytest.raises(
            CheckpointError, match=r"checkpoint-5 is damaged: model\.safetensors has \d+ bytes instead"
        ):
            case.trainer(tmp_path).train(resume_from_checkpoint=requested)
    assert tree_of(tmp_path) == before
