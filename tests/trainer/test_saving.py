"""What is saved, when, and what comes back at the end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.training.checkpoints import verify_checkpoint
from tests.snapshots import assert_identical, snapshot, tree_of
from tests.tiny import tiny_trainer, tiny_vit


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


# ---- the best one ---------------------------------------------------------------------------------------------------

BEST: dict[str, Any] = {
    "max_steps": 6,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_strategy": "steps",
    "save_steps": 2,
    "metric_for_best_model": "scripted",
    "load_best_model_at_end": True,
}


class Truncate(TrainerCallback):
    """Damages a file of the run's folder once a step is done."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.path.write_bytes(self.path.read_bytes()[:-3])


def test_a_damaged_best_checkpoint_is_an_error_and_not_the_last_weights(tmp_path: Path) -> None:
    damage = Truncate(tmp_path / "checkpoint-4" / "model.safetensors", step=6)
    trainer = tiny_trainer(tmp_path, compute_metrics=Scripted(), callbacks=[damage], save_total_limit=1, **BEST)
    with pytest.raises(CheckpointError) as error:
        trainer.train()
    for part in (
        "best checkpoint (eval_scripted 0.9)" if "eval_" in str(error.value) else "best checkpoint (scripted 0.9)",
        "checkpoint-4 is damaged: model.safetensors",
        "Nothing was published",
        f"resume_from_checkpoint={tmp_path / 'checkpoint-6'} and load_best_model_at_end=False",
    ):
        assert part in str(error.value)
    # What the message says works.
    last = tiny_trainer(tmp_path, model=tiny_vit(seed=9), **(BEST | {"load_best_model_at_end": False}))
    last.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert_identical(dict(last.model.state_dict()), dict(trainer.model.state_dict()))


def test_a_best_checkpoint_that_is_damaged_is_noticed_before_the_run_goes_on(tmp_path: Path) -> None:
    whole = tiny_trainer(tmp_path, compute_metrics=Scripted(), **BEST)
    whole.train()
    optimizer = tmp_path / "checkpoint-4" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-3])
    again = tiny_trainer(tmp_path, model=tiny_vit(seed=9), compute_metrics=Scripted(), **BEST)
    with pytest.raises(CheckpointError, match=r"checkpoint-4 is damaged.*train it again from checkpoint-2") as error:
        again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 6
    # The other way of the message: its evaluations are those of steps 4 and 6.
    scripted = Scripted()
    next(scripted.values)
    redone = tiny_trainer(tmp_path, model=tiny_vit(seed=9), compute_metrics=scripted, **BEST)
    redone.train(resume_from_checkpoint=str(error.value).rpartition("resume_from_checkpoint=")[2])
    assert_identical(dict(redone.model.state_dict()), dict(whole.model.state_dict()))


def test_the_best_checkpoint_is_found_where_the_run_was_moved_to(tmp_path: Path) -> None:
    whole = tiny_trainer(tmp_path / "run", compute_metrics=Scripted(), **BEST)
    whole.train()
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    again = tiny_trainer(moved, model=tiny_vit(seed=9), compute_metrics=Scripted(), **BEST)
    again.train(resume_from_checkpoint=True)
    assert again.state.best_model_checkpoint == str(moved / "checkpoint-4")
    assert_identical(dict(again.model.state_dict()), dict(whole.model.state_dict()))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"eval_delay": 9, "save_steps": 2}, "nothing was evaluated: the last weights are kept"),
        ({"save_steps": 6}, "the best evaluation was at step 4, where nothing was saved: the last weights are kept"),
    ],
)
def test_last_weights_are_never_taken_for_the_best_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, config: dict[str, Any], words: str
) -> None:
    trainer = tiny_trainer(tmp_path, compute_metrics=Scripted(), **(BEST | config))
    with caplog.at_level("WARNING", logger="adsr_hf.training.best_checkpoint"):
        trainer.train()
    assert words in caplog.text


def test_the_others_stay_where_the_best_one_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a limit of one Trainer deletes all others at the end, whether or not the best one is loaded."""
    damage = Truncate(tmp_path / "checkpoint-4" / "model.safetensors", step=6)
    config = BEST | {"load_best_model_at_end": False, "save_total_limit": 1}
    with caplog.at_level("WARNING", logger="adsr_hf.training.best_checkpoint"):
        tiny_trainer(tmp_path, compute_metrics=Scripted(), callbacks=[damage], **config).train()
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-4", "checkpoint-6"]
    assert "checkpoint-4 is damaged" in caplog.text
    verify_checkpoint(tmp_path / "checkpoint-6")
