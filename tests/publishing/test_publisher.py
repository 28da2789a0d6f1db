"""The publisher and its figures, without a trainer or a Hub."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerState
from transformers.utils.hub import PushInProgress

from adsr_hf.measures.figures import MeasuredLogits
from adsr_hf.publishing.card_facts import DataDescription
from adsr_hf.publishing.hub import PublishingError
from adsr_hf.publishing.published_figures import PublishedFigures
from adsr_hf.publishing.publisher import Publisher, facts_given
from tests.tiny import CLASSES, tiny_config, tiny_vit


def state(*entries: dict[str, Any], step: int = 4, best: int | None = None) -> TrainerState:
    found = TrainerState(global_step=step, max_steps=8, log_history=list(entries))
    found.best_global_step = best
    return found


def entry(step: int, accuracy: float, split: str = "eval", prefix: str = "") -> dict[str, Any]:
    return {"step": step, f"{split}_images": 10, f"{split}_{prefix}accuracy": accuracy}


class TestFigures:
    def test_only_those_of_the_last_weights_are_theirs(self) -> None:
        history = state(entry(2, 0.5), entry(4, 0.7))
        (found,) = PublishedFigures().of(history, "")
        assert (found.split, found.images, found.figures["accuracy"]) == ("validation", 10, 0.7)
        assert PublishedFigures().of(state(entry(2, 0.5)), "") == ()
        assert PublishedFigures().of(history, "teacher_") == ()

    def test_after_going_back_they_are_those_of_the_best_step(self) -> None:
        figures, history = PublishedFigures(), state(entry(2, 0.9), entry(4, 0.7), best=2)
        figures.best_was_restored(history)
        assert figures.step(history) == 2
        assert figures.of(history, "")[0].figures["accuracy"] == 0.9
        history.log_history.append(entry(4, 0.8, "test"))
        assert [found.split for found in figures.of(history, "")] == ["test"]
        figures.begin()
        assert figures.step(history) == 4

    def test_a_scaled_head_makes_earlier_figures_void(self) -> None:
        figures, history = PublishedFigures(), state(entry(4, 0.7))
        measured = MeasuredLogits(torch.eye(2) * 5, None, torch.tensor([0, 1]))
        figures.head_was_calibrated(history, "validation", measured)
        (found,) = figures.of(history, "")
        assert (found.images, found.figures["accuracy"]) == (2, 1.0)
        assert "robust_accuracy" not in found.figures
        history.log_history.append(entry(4, 0.6))
        assert figures.of(history, "")[0].figures["accuracy"] == 0.6


class TestPublisher:
    def publisher(self, folder: Path, saved: list[str] | None = None, **config: Any) -> Publisher:
        return Publisher(tiny_config(folder / "run", **config), save=(saved if saved is not None else []).append)

    def test_a_repository_is_called_as_it_was_opened_or_will_be(self, tmp_path: Path) -> None:
        assert self.publisher(tmp_path).repository_name(None) == "run"
        assert self.publisher(tmp_path, hub_model_id="me/model").repository_name(None) == "me/model"
        assert self.publisher(tmp_path, hub_model_id="me/model").repository_name("you/model") == "you/model"

    def test_facts_are_those_of_the_run_unless_given(self, tmp_path: Path) -> None:
        facts = self.publisher(tmp_path).facts(
            tiny_vit(), state(), repository=None, teacher=True, ended=False, classes=CLASSES, data=None, license="mit"
        )
        assert (facts.name, facts.weights, facts.step, facts.total_steps) == ("run", "teacher", 4, 8)
        assert (facts.license, facts.base_model, facts.calibration) == ("mit", None, None)
        assert facts.versions["adsr_hf"]

    def test_a_failure_says_how_to_push_to_the_repository_that_is_open(self, tmp_path: Path) -> None:
        publisher = self.publisher(tmp_path, hub_model_id="me/model")
        publisher.card_path.parent.mkdir(parents=True)
        publisher.card_path.touch()

        def earlier_push_failed() -> str:
            raise PublishingError("an earlier push failed")

        where: Any = {"token": None, "revision": None, "background": False}
        for opened, named in (("you/model", "you/model"), (None, "me/model")):
            with pytest.raises(PublishingError, match=f"an earlier push failed. .* hf upload {named} "):
                publisher.push("message", opened, open_repository=earlier_push_failed, **where)

    def test_a_push_that_still_runs_is_waited_for_unless_asked(self, tmp_path: Path) -> None:
        busy: Any = PushInProgress([object()])
        publisher = self.publisher(tmp_path)
        assert publisher.waits_for(busy)
        assert not publisher.waits_for(None)
        assert not publisher.waits_for(PushInProgress([]))
        assert not self.publisher(tmp_path, hub_always_push=True).waits_for(busy)

    def test_a_push_that_failed_is_said_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        class Job:
            def done(self) -> bool:
                return True

            def exception(self) -> Exception:
                return OSError("no route to host")

        push: Any = PushInProgress([Job()])
        with caplog.at_level("WARNING", logger="adsr_hf.publishing.publisher"):
            self.publisher(tmp_path).report_failures(push, "me/model")
            self.publisher(tmp_path).report_failures(push, "me/model")
        assert caplog.text.count("a push to the Hub repository me/model during training failed") == 1
        assert push.jobs == []


def test_the_arguments_of_trainers_card_become_facts() -> None:
    own = DataDescription("steel")
    assert facts_given(own, license="mit", tags="a", tasks=["b"])["tags"] == ("a", "b")
    assert facts_given(own)["data"] is own
    other = facts_given(own, dataset_tags="me/data", dataset_args=["plain"])["data"]
    assert other == DataDescription("me/data", hub_name="me/data", config="plain")
