"""Runs that are continued with another length or other batches on purpose."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from adsr_hf import ADSRTrainer
from adsr_hf.method.schedules import cosine_anneal
from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.files import write_json
from adsr_hf.training.same_run import check_same_run
from tests.snapshots import assert_identical, snapshot
from tests.tiny import TinyImages, position_of, tiny_model
from tests.tiny_runs import Case

SAVING: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4, "eval_strategy": "no", "logging_steps": 1}


def run(folder: Path, resume: int | None = None, **config: Any) -> ADSRTrainer:
    """Four steps an epoch; continued from the checkpoint of a step."""
    trainer = Case(**(SAVING | config)).trainer(folder)
    trainer.train(str(folder / f"checkpoint-{resume}") if resume else None)
    return trainer


def logged(trainer: ADSRTrainer, figure: str) -> list[float]:
    return [line[figure] for line in trainer.state.log_history if figure in line]


def test_settings_are_compared_one_by_one(tmp_path: Path) -> None:
    write_json(tmp_path / "adsr_run.json", {"epsilon": 8 / 255, "method": "adsr", "attack_step_size": None})
    same = {"epsilon": 8 / 255, "method": "adsr", "attack_step_size": None}
    assert check_same_run(tmp_path, same) == []
    with pytest.raises(
        CheckpointError, match=r"epsilon was 0\.03137\d* and is now 0\.5; method was 'adsr' and is now 'x'"
    ):
        check_same_run(tmp_path, {"epsilon": 0.5, "method": "x", "attack_step_size": None})
    # What the version that saved it did not know had its default.
    assert check_same_run(tmp_path, same | {"norm": "Linf", "ikl_alpha": 20.0}) == []
    with pytest.raises(CheckpointError, match=r"norm was 'Linf' and is now 'L2'\. Set them back") as error:
        check_same_run(tmp_path, {"norm": "L2", "method": "x"}, may_differ={"method"})
    assert "method was" not in str(error.value)
    assert check_same_run(tmp_path, {"method": "x"}, may_differ={"method"}) == [
        {"setting": "method", "was": "adsr", "now": "x"}
    ]
    with pytest.raises(CheckpointError, match=r"has no adsr_run\.json"):
        check_same_run(tmp_path / "absent", {})


class TestLength:
    @pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
    @pytest.mark.parametrize("longer", [{"max_steps": 8}, {"num_train_epochs": 2, "max_steps": -1}], ids=str)
    def test_clean_training_goes_on_as_trainers_does(
        self, tmp_path: Path, schedule: str, longer: dict[str, Any]
    ) -> None:
        """Weights and learning rates of Trainer that is continued in the same way, to the last bit.

        A ResNet, since Trainer skips most weights of a ViT when it loads a checkpoint.
        """
        settings = {"lr_scheduler_type": schedule, "learning_rate": 1e-2, "per_device_train_batch_size": 8, "seed": 0}
        given = {"use_cpu": True, "report_to": "none", "disable_tqdm": True} | SAVING | settings
        for config in ({"max_steps": 4}, longer):
            arguments = TrainingArguments(output_dir=str(tmp_path / "trainer"), **(given | config))
            theirs = Trainer(tiny_model("resnet"), arguments, train_dataset=TinyImages(32))
            theirs.train(resume_from_checkpoint=config is longer)
        run(tmp_path / "ours", method="clean", family="resnet", max_steps=4, **settings)
        ours = run(tmp_path / "ours", 4, method="clean", family="resnet", **(settings | longer))
        assert ours.state.global_step == theirs.state.global_step == 8
        assert_identical(dict(ours.model.state_dict()), dict(theirs.model.state_dict()))
        assert logged(ours, "learning_rate") == logged(theirs, "learning_rate")

    @pytest.mark.parametrize(
        "config",
        [
            {"method": "pgd_at"},
            {"temperature_start": 1.5, "temperature_end": 1.5, "interpolation_start": 0.9, "interpolation_end": 0.9},
        ],
        ids=["pgd_at", "nothing annealed"],
    )
    def test_where_nothing_depends_on_it_it_may_change(self, tmp_path: Path, config: dict[str, Any]) -> None:
        """With a constant learning rate, the weights of a run that had the length from its beginning."""
        settings = {"lr_scheduler_type": "constant", **config}
        run(tmp_path / "short", max_steps=4, **settings)
        continued = run(tmp_path / "short", 4, max_steps=8, **settings)
        whole = run(tmp_path / "whole", max_steps=8, **settings)
        assert_identical(snapshot(continued), snapshot(whole))

    @pytest.mark.parametrize(
        "config", [{}, {"method": "clean", "learning_rate_drops": [0.5], "lr_scheduler_type": "constant"}], ids=str
    )
    def test_elsewhere_it_is_refused_with_the_way_on(self, tmp_path: Path, config: dict[str, Any]) -> None:
        run(tmp_path, max_steps=4, **config)
        with pytest.raises(CheckpointError, match=r"total_steps was 4 and is now 8.*resumed_schedules='hold' or 'str"):
            run(tmp_path, 4, max_steps=8, **config)

    @pytest.mark.parametrize(("way", "length"), [("hold", 8), ("stretch", 16)])
    def test_annealing_is_held_or_stretched(self, tmp_path: Path, way: str, length: int) -> None:
        run(tmp_path, max_steps=8)
        continued = run(tmp_path, 4, max_steps=16, resumed_schedules=way)
        expected = [cosine_anneal(2.0, 1.0, step=step, total_steps=8) for step in range(4)]
        expected += [cosine_anneal(2.0, 1.0, step=step, total_steps=length) for step in range(4, 16)]
        assert logged(continued, "temperature") == pytest.approx(expected)
        assert continued.run.method_step.teacher.annealed(position_of(continued))[1] == pytest.approx(0.95)

    def test_what_was_held_is_held_when_the_run_is_continued_again(self, tmp_path: Path) -> None:
        run(tmp_path, max_steps=4)
        first = run(tmp_path, 4, max_steps=12, resumed_schedules="hold")
        again = run(tmp_path, 8, max_steps=12)
        assert_identical(snapshot(again), snapshot(first))
        assert logged(again, "temperature")[-1] == 1.0

    @pytest.mark.parametrize(("way", "drops"), [("hold", [4, 6]), ("stretch", [8, 12])])
    def test_drops_of_the_learning_rate(self, tmp_path: Path, way: str, drops: list[int]) -> None:
        settings = {
            "method": "clean",
            "learning_rate_drops": [0.5, 0.75],
            "lr_scheduler_type": "constant",
            "optim": "sgd",
            "learning_rate": 0.1,
            "save_steps": 2,
        }
        run(tmp_path, max_steps=8, **settings)
        continued = run(tmp_path, 2, max_steps=16, resumed_schedules=way, **settings)
        expected = [0.1 * 0.1 ** sum(step >= drop for drop in drops) for step in range(16)]
        assert logged(continued, "learning_rate") == pytest.approx(expected)

    def test_a_shorter_run_ends_earlier(self, tmp_path: Path) -> None:
        run(tmp_path, method="pgd_at", max_steps=8)
        assert run(tmp_path, 4, method="pgd_at", max_steps=6).state.global_step == 6


class TestBatches:
    @pytest.mark.parametrize(
        "config",
        [
            {"per_device_train_batch_size": 16},
            {"gradient_accumulation_steps": 2},
            {"data_seed": 5},
            {"train_sampling_strategy": "sequential"},
        ],
        ids=str,
    )
    def test_others_are_refused_unless_they_are_asked_for(self, tmp_path: Path, config: dict[str, Any]) -> None:
        run(tmp_path, method="pgd_at", max_steps=8)
        with pytest.raises(CheckpointError, match="resume_with_other_batches=True continues with other batches"):
            run(tmp_path, 4, method="pgd_at", max_steps=8, **config)
        continued = run(tmp_path, 4, method="pgd_at", max_steps=8, resume_with_other_batches=True, **config)
        assert continued.state.global_step == 8
        assert all(torch.isfinite(parameter).all() for parameter in continued.model.parameters())

    def test_no_other_setting_may_change_with_them(self, tmp_path: Path) -> None:
        run(tmp_path, max_steps=4)
        with pytest.raises(CheckpointError, match=r"epsilon was .*\. Set them back") as error:
            run(tmp_path, 4, max_steps=4, epsilon="4/255", resume_with_other_batches=True)
        assert "seed" not in str(error.value)


def test_every_change_is_on_record(tmp_path: Path, caplog: Any) -> None:
    run(tmp_path, max_steps=4)
    caplog.set_level("WARNING", logger="adsr_hf.training.run_identity")
    run(tmp_path, 4, max_steps=8, resumed_schedules="stretch")
    assert "checkpoint-4 is continued with other settings: total_steps was 4 and is now 8" in caplog.text
    changed = {"per_device_train_batch_size": 16, "resume_with_other_batches": True}
    trainer = run(tmp_path, 8, max_steps=12, resumed_schedules="hold", **changed)
    expected = [
        {"setting": "total_steps", "was": 4, "now": 8, "step": 4, "resumed_schedules": "stretch"},
        {"setting": "total_train_batch_size", "was": 8, "now": 16, "step": 8, "resumed_schedules": "hold"},
        {"setting": "total_steps", "was": 8, "now": 12, "step": 8, "resumed_schedules": "hold"},
    ]
    assert trainer.run.identity.changes == expected
    saved = json.loads((tmp_path / "checkpoint-12" / "adsr_run.json").read_text())
    assert (saved["changes"], saved["schedule_steps"], saved["total_steps"]) == (expected, 8, 12)
    assert run(tmp_path / "new", max_steps=1).run.identity.changes == []
