"""What a run is not continued from, and what is left untouched then."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.records.folder_lock import FolderInUseError
from adsr_hf.training.checkpoints import verify_checkpoint
from tests.snapshots import Crash, CrashAfter, assert_identical, snapshot, tree_of
from tests.tiny import tiny_trainer
from tests.tiny_runs import Case


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
        ({"data_seed": 3}, "data_seed was None", "now 3"),
        ({"train_sampling_strategy": "sequential"}, "train_sampling_strategy was 'random'", "now 'sequential'"),
        ({"dataloader_drop_last": True}, "dataloader_drop_last was False", "now True"),
        ({"teacher_decay": 0.5}, "teacher_decay was 0.9", "now 0.5"),
        ({"attack_step_size": "2/255"}, "attack_step_size was None", "now 0.0078"),
        ({"seed": 3}, "seed was 0", "now 3"),
        ({"per_device_train_batch_size": 16, "num_train_epochs": 4}, "total_train_batch_size was 8", "now 16"),
        ({"gradient_accumulation_steps": 2, "num_train_epochs": 4}, "total_train_batch_size was 8", "now 16"),
    ],
)
def test_other_settings_are_refused_with_both_values(
    finished: Path, changed: dict[str, Any], was: str, now: str
) -> None:
    with pytest.raises(CheckpointError) as error:
        _two_epochs(finished, **changed).train(resume_from_checkpoint=str(finished / "checkpoint-4"))
    assert was in str(error.value)
    assert now in str(error.value)


def test_another_smoothing_of_labels_is_refused_with_both_values(tmp_path: Path) -> None:
    smoothed = {"method": "pgd_at", "max_steps": 2, "save_steps": 1, "eval_strategy": "no"}
    Case(**smoothed, label_smoothing_factor=0.1).trainer(tmp_path).train()
    other = Case(**smoothed, label_smoothing_factor=0.5).trainer(tmp_path)
    with pytest.raises(CheckpointError, match=r"label_smoothing_factor was 0\.1 and is now 0\.5"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_another_figure_that_chooses_is_refused_with_both_names(tmp_path: Path) -> None:
    chosen = {"max_steps": 2, "save_steps": 1, "eval_steps": 1, "load_best_model_at_end": True}
    Case(**chosen, metric_for_best_model="accuracy").trainer(tmp_path).train()
    with pytest.raises(CheckpointError, match="metric_for_best_model was 'accuracy' and is now 'ece'"):
        Case(**chosen, metric_for_best_model="ece").trainer(tmp_path).train(str(tmp_path / "checkpoint-1"))
    trainer = Case(**chosen, metric_for_best_model="accuracy").trainer(tmp_path)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert trainer.state.global_step == 2


def test_batches_of_the_same_total_may_be_cut_up_otherwise(finished: Path) -> None:
    trainer = _two_epochs(finished, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    trainer.train(resume_from_checkpoint=str(finished / "checkpoint-8"))
    assert trainer.state.global_step == 8


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
    caplog.set_level("WARNING", logger="adsr_hf.training.run_folder")
    continued.train(resume_from_checkpoint=True)
    assert "checkpoint-6 was not finished and is passed over" in caplog.text
    assert_identical(snapshot(continued), snapshot(whole))
    for folder in checkpoint_folders(tmp_path / "cut"):
        verify_checkpoint(folder)
    assert not (unfinished / "model-00001-of-00002.safetensors").exists()


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished run with checkpoint-5 and checkpoint-9, and what it ended with."""
    folder = tmp_path_factory.mktemp("two")
    trainer = Case(save_total_limit=2, publish="teacher").trainer(folder)
    trainer.train()
    return folder, snapshot(trainer)


FILES = [
    "manifest.json",
    "adsr_run.json",
    "config.json",
    "model.safetensors",
    "optimizer.pt",
    "preprocessor_config.json",
    "process_0.safetensors",
    "rng_state.pth",
    "scheduler.pt",
    "student.safetensors",
    "teacher.safetensors",
    "trainer_state.json",
    "training_args.bin",
]


def test_the_list_of_files_is_complete(two_checkpoints: tuple[Path, Any]) -> None:
    assert {path.name for path in (two_checkpoints[0] / "checkpoint-9").iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_run_goes_on_from_the_newest_whole_checkpoint(
    tmp_path: Path, two_checkpoints: tuple[Path, dict[str, Any]], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(two_checkpoints[0], tmp_path / "run"))
    path = run / "checkpoint-9" / name
    path.write_bytes(path.read_bytes()[:-3])
    case = Case(save_total_limit=2, publish="teacher")
    with pytest.raises(CheckpointError, match=f"resume_from_checkpoint={run / 'checkpoint-5'}$"):
        case.trainer(run).train(resume_from_checkpoint=str(run / "checkpoint-9"))
    assert path.stat().st_size == (two_checkpoints[0] / "checkpoint-9" / name).stat().st_size - 3
    continued = case.trainer(run, seed=99)
    caplog.set_level("WARNING", logger="adsr_hf.training.run_folder")
    continued.train(resume_from_checkpoint=True)
    assert f"checkpoint-9 is damaged: {name} " in caplog.text
    assert f"continues from {run / 'checkpoint-5'}" in caplog.text
    assert_identical(snapshot(continued), two_checkpoints[1])
    # The damaged one was written anew.
    for folder in checkpoint_folders(run):
        verify_checkpoint(folder)


def test_a_damaged_only_checkpoint_is_refused_and_left_alone(tmp_path: Path) -> None:
    case = Case(max_steps=5, eval_strategy="no")
    case.trainer(tmp_path).train()
    weights = tmp_path / "checkpoint-5" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    before = tree_of(tmp_path)
    for requested in (True, str(weights.parent)):
        with pytest.raises(
            CheckpointError, match=r"checkpoint-5 is damaged: model\.safetensors has \d+ bytes instead.*output_dir$"
        ):
            case.trainer(tmp_path).train(resume_from_checkpoint=requested)
    with pytest.raises(FileExistsError, match=r"checkpoint-5 is damaged.*Choose another output_dir$"):
        case.trainer(tmp_path).train()
    assert tree_of(tmp_path) == before


def test_a_run_that_was_killed_in_its_first_checkpoint_starts_again(tmp_path: Path, caplog: Any) -> None:
    case = Case(max_steps=5, eval_strategy="no")
    whole = case.trainer(tmp_path / "whole")
    whole.train()
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole", killed)
    (killed / "checkpoint-5").rename(killed / "checkpoint-3")
    (killed / "checkpoint-3" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="leave resume_from_checkpoint out to start anew"):
        case.trainer(killed).train(resume_from_checkpoint=True)
    again = case.trainer(killed)
    caplog.set_level("WARNING", logger="adsr_hf.training.run_folder")
    again.train()
    assert "checkpoint-3 was not finished; it is removed" in caplog.text
    assert_identical(snapshot(again), snapshot(whole))
    assert [folder.name for folder in checkpoint_folders(killed)] == ["checkpoint-5"]


def test_a_run_is_not_continued_into_the_folder_of_another(finished: Path, tmp_path: Path) -> None:
    _two_epochs(tmp_path, seed=3).train()
    before = tree_of(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds another run \(checkpoint-8\)"):
        _two_epochs(tmp_path).train(resume_from_checkpoint=str(finished / "checkpoint-4"))
    assert tree_of(tmp_path) == before
    elsewhere = _two_epochs(tmp_path / "elsewhere")
    elsewhere.train(resume_from_checkpoint=str(finished / "checkpoint-4"))
    assert [folder.name for folder in checkpoint_folders(tmp_path / "elsewhere")] == ["checkpoint-8"]


def test_two_do_not_train_in_one_folder(tmp_path: Path) -> None:
    """The second is refused at once, and the first goes on as if there had been none."""
    refusals: list[BaseException] = []

    class SecondRun(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            thread = threading.Thread(target=self._train)
            thread.start()
            thread.join()

        def _train(self) -> None:
            try:
                tiny_trainer(tmp_path, max_steps=1).train()
            except FolderInUseError as error:
                refusals.append(error)

    first = tiny_trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=1, callbacks=[SecondRun()])
    first.train()
    assert len(refusals) == 2
    assert f"process {os.getpid()}" in str(refusals[0])
    assert "training" in str(refusals[0])
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["checkpoint-1", "checkpoint-2"]
