"""What a former version wrote is read, and its runs go on. tests/fixtures holds the files and how they were made."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from adsr_hf.cli.main import main
from adsr_hf.decision.decision_file import read_decision
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.networks.weights import TEACHER_FILE, load_tensors
from adsr_hf.records.run_record import published_weights, read_run_record
from adsr_hf.training.checkpoints import verify_checkpoint
from tests.tiny import TinyImages, tiny_trainer, tiny_vit

FORMER = Path(__file__).parent / "fixtures" / "version_0_1_0_before_rooms"
EVALUATED, TRAINED = FORMER / "evaluated", FORMER / "trained"


def test_an_evaluation_is_read_with_its_figures() -> None:
    records = read_evaluation(EVALUATED)
    assert (records.images, records.threats, records.attacks) == (60, ["Linf 0.05"], ["pgd", "margin"])
    figures = {name: figure["value"] for name, figure in records.summary["figures"].items()}
    assert figures["accuracy"] == pytest.approx(35 / 60)
    assert figures["Linf 0.05/robust_accuracy"] == pytest.approx(21 / 60)
    assert figures["Linf 0.05/pgd/robust_accuracy"] == pytest.approx(23 / 60)


def test_a_run_is_read() -> None:
    record = read_run_record(EVALUATED / "run.json")
    assert (record["config"]["method"], record["config"]["epsilon"]) == ("adsr", 0.05)
    assert [entry["step"] for entry in record["log_history"] if "loss" in entry] == [40, 80]
    assert published_weights(record) == "student"


def test_a_report_shows_the_run(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(EVALUATED), "-o", str(page)]) == 0
    assert "58.3" in page.read_text(encoding="utf-8")


def test_a_japanese_report_shows_its_sentences_as_they_were_recorded(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(EVALUATED), "-o", str(page), "--language", "ja"]) == 0
    assert '<q lang="en">an image that is wrong without attack' in page.read_text(encoding="utf-8")


def test_a_decision_is_read() -> None:
    decided = read_decision(FORMER / "decision.json")
    assert decided.decision == "promote"
    assert decided.candidate_model.fingerprint == read_evaluation(EVALUATED).summary["model"]["fingerprint"]
    assert decided.rollback_point.path == "/tmp/former/old"


class FirstStep(TrainerCallback):
    """Keeps where a run begins and the teacher it begins with."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.teacher: dict[str, Tensor] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.step is None:
            self.step = state.global_step
            self.teacher = {name: value.clone() for name, value in self.trainer.teacher.state_dict().items()}


def test_a_checkpoint_is_continued(tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(TRAINED / "checkpoint-2", tmp_path / "checkpoint-2"))
    verify_checkpoint(checkpoint)
    first = FirstStep()
    # Other weights than those of the run: what comes out as it did comes from the checkpoint.
    first.trainer = trainer = tiny_trainer(
        tmp_path,
        model=tiny_vit(seed=99, hidden_size=8, num_hidden_layers=1, intermediate_size=16),
        train_dataset=TinyImages(32),
        callbacks=[first],
        max_steps=4,
        save_strategy="steps",
        save_steps=2,
    )
    trainer.train(resume_from_checkpoint=True)

    assert first.step == 2
    stored = load_tensors(checkpoint / TEACHER_FILE)
    assert first.teacher.keys() == stored.keys()
    for name, value in stored.items():
        assert torch.equal(first.teacher[name], value), name
    losses = {str(entry["step"]): entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
    assert losses == pytest.approx(json.loads((TRAINED / "losses.json").read_text()), rel=1e-4)
    verify_checkpoint(tmp_path / "checkpoint-4")
