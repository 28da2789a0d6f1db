"""Model cards state what was measured on the published weights, and never more."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_eval_result
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from transformers import Trainer

from adsr_hf import ADSRTrainer
from adsr_hf.publishing.card_facts import (
    CardFacts,
    DataDescription,
    EvaluationAttack,
    Measurement,
    hub_name,
    measurements,
)
from adsr_hf.publishing.card_settings import method_in_words, recipe_settings
from adsr_hf.publishing.card_text import card_text
from adsr_hf.publishing.hub import card_metadata, model_card
from tests.tiny import TinyImages, tiny_config, tiny_trainer, tiny_vit

TEST = Measurement("test", 500, {"accuracy": 0.824, "robust_accuracy": 0.41, "ece": 0.041, "robust_ece": 0.2})
FACTS = CardFacts(
    name="vit-robust",
    repository="someone/vit-robust",
    architecture="ViTForImageClassification",
    parameters=5620,
    classes=4,
    weights="student",
    method="It was trained somehow.",
    attacks=True,
    threat="L2 0.5",
    settings={"seed": "0"},
    attack=EvaluationAttack("L2 0.5", 20, 3, 0.0625),
    measurements=(TEST,),
    selected=False,
    step=10,
    total_steps=10,
    versions={"torch": "2.13.0"},
    data=DataDescription("CIFAR-10", "50,000 train images", "uoft-cs/cifar10", "plain_text"),
)


def facts(**changes: Any) -> CardFacts:
    return dataclasses.replace(FACTS, **changes)


class TestText:
    def test_an_accuracy_comes_with_its_count_and_interval(self) -> None:
        text = card_text(FACTS)
        for right, title in (
            (412, "accuracy, clean images"),
            (205, "accuracy under attack (L2 0.5, PGD-20 × 3 restarts)"),
        ):
            interval = binomtest(right, 500).proportion_ci(method="wilson")
            row = f"| {title} | {right / 500:.1%} | {right} of 500 | {interval.low:.1%} to {interval.high:.1%} |"
            assert row in text

    @pytest.mark.parametrize(
        ("threat", "words"),
        [("L2 0.5", "at most 0.5 in Euclidean length"), ("Linf 8/255", "every value of every pixel by at most 8/255")],
    )
    def test_the_threat_is_explained(self, threat: str, words: str) -> None:
        text = card_text(facts(threat=threat))
        assert words in text
        assert f"They hold for {threat} alone" in text
        assert "AutoAttack was not run" in text

    def test_nothing_measured_is_said_and_nothing_invented(self) -> None:
        card = model_card(facts(measurements=()))
        assert "Nothing was measured on these weights" in card.text
        assert "%" not in card.text.replace("95%", "")
        assert "model-index" not in card.data.to_dict()
        assert "metrics" not in card.data.to_dict()

    def test_robustness_that_was_not_measured_is_named(self) -> None:
        card = model_card(facts(measurements=(Measurement("test", 9, {"accuracy": 1.0}),), attack=None))
        assert "Robustness was not measured" in card.text
        assert [result.metric_name for result in card.data.eval_results] == ["Accuracy"]

    def test_a_checkpoint_chosen_on_the_measured_images_is_confessed(self) -> None:
        measured = (Measurement("validation", 9, {"accuracy": 1.0}),)
        confession = "chosen by its figures on the validation images"
        assert confession in card_text(facts(measurements=measured, selected=True))
        assert confession not in card_text(facts(measurements=measured))
        assert confession not in card_text(facts(selected=True))

    def test_a_model_that_saw_no_attack_is_not_called_robust(self) -> None:
        assert "was NOT trained against any attack" in card_text(facts(attacks=False))


class TestMetadata:
    def test_it_reads_back(self) -> None:
        card = ModelCard(
            str(model_card(facts(base_model="google/vit", license="mit", languages=("en",), tags=("x", "x"))))
        )
        data = card.data
        assert data.eval_results == card_metadata(FACTS).eval_results
        assert (data.base_model, data.license, data.language) == ("google/vit", "mit", ["en"])
        assert data.datasets == ["uoft-cs/cifar10"]
        assert {"adversarial-robustness", "image-classification"} <= set(data.tags)
        assert data.tags.count("x") == 1

    def test_it_has_the_shape_that_the_hub_library_writes(self) -> None:
        plain = metadata_eval_result(
            model_pretty_name="vit-robust",
            task_pretty_name="Image classification",
            task_id="image-classification",
            metrics_pretty_name="Accuracy",
            metrics_id="accuracy",
            metrics_value=0.824,
            dataset_pretty_name="CIFAR-10",
            dataset_id="uoft-cs/cifar10",
            dataset_config="plain_text",
            dataset_split="test",
        )
        measured = (Measurement("test", 500, {"accuracy": 0.824}),)
        ours = card_metadata(facts(measurements=measured)).to_dict()["model-index"]
        del ours[0]["results"][0]["dataset"]["args"], ours[0]["results"][0]["metrics"][0]["args"]
        del plain["model-index"][0]["results"][0]["metrics"][0]["verified"]
        assert ours == plain["model-index"]

    @settings(max_examples=30)
    @given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=30))
    def test_any_name_survives(self, text: str) -> None:
        card = model_card(facts(name=text, tags=(text,), data=DataDescription(text)))
        read = ModelCard(str(card))
        assert read.data.model_name == text
        assert text in read.data.tags
        assert read.data.eval_results[0].dataset_name == text

    def test_data_that_are_on_no_hub_are_not_linked(self) -> None:
        for data in (None, DataDescription("My photos (2024)")):
            metadata = card_metadata(facts(data=data)).to_dict()
            assert "datasets" not in metadata
            assert metadata["model-index"][0]["results"][0]["dataset"]["type"]


class TestMeasurements:
    HISTORY = (
        {"step": 5, "eval_accuracy": 0.9, "eval_images": 50},
        {
            "step": 10,
            "eval_accuracy": 0.5,
            "eval_images": 50,
            "eval_robust_accuracy": 0.25,
            "eval_teacher_accuracy": 0.75,
        },
        {"step": 10, "train_loss": 1.0},
    )

    def test_figures_of_other_weights_are_passed_over(self) -> None:
        (found,) = measurements(self.HISTORY, step=10, prefix="")
        assert found == Measurement("validation", 50, {"accuracy": 0.5, "robust_accuracy": 0.25})
        assert measurements(self.HISTORY, step=11, prefix="") == ()
        (teacher,) = measurements(self.HISTORY, step=10, prefix="teacher_")
        assert teacher.figures == {"accuracy": 0.75}
        assert measurements(self.HISTORY, step=5, prefix="teacher_") == ()

    def test_the_test_split_is_preferred_and_the_last_word_counts(self) -> None:
        tests = [{"step": 10, "test_accuracy": value, "test_images": 20} for value in (0.1, 0.2)]
        assert measurements([*tests, *self.HISTORY], step=10, prefix="") == (
            Measurement("test", 20, {"accuracy": 0.2}),
        )

    def test_each_of_several_sets_is_listed(self) -> None:
        history = [{"step": 1, f"eval_{name}_accuracy": 0.5, f"eval_{name}_images": 8} for name in ("near", "far")]
        assert [found.split for found in measurements(history, step=1, prefix="")] == ["near", "far"]

    def test_a_users_metric_in_percent_is_not_taken_for_a_share(self) -> None:
        assert measurements([{"step": 1, "test_accuracy": 82.4, "test_images": 8}], step=1, prefix="") == ()


class TestTrainer:
    def test_the_signatures_are_those_of_trainer(self) -> None:
        for method in ("create_model_card", "push_to_hub", "init_hf_repo"):
            ours, theirs = (list(inspect.signature(getattr(one, method)).parameters) for one in (ADSRTrainer, Trainer))
            # transformers 5.20 has no `private` yet.
            assert [name for name in ours if name in theirs or name != "private"] == theirs

    def test_only_figures_of_the_published_network_are_told(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path, publish="teacher", evaluate_weights="student", max_steps=1)
        trainer.train()
        trainer.evaluate()
        assert trainer.card_facts().measurements == ()
        trainer.args.evaluate_weights = "both"
        measured = trainer.evaluate()
        (found,) = trainer.card_facts().measurements
        assert found.images == measured["eval_images"] == 24
        assert found.figures["robust_accuracy"] == measured["eval_teacher_robust_accuracy"]

    def test_an_evaluation_of_earlier_weights_is_not_told(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path, max_steps=3)
        trainer.evaluate()
        assert trainer.card_facts().measurements != ()
        trainer.train()
        assert trainer.card_facts().measurements == ()
        assert trainer.card_facts().step == 3

    def test_after_going_back_to_the_best_weights_their_figures_are_told(self, tmp_path: Path) -> None:
        scores = iter([0.9, 0.1, 0.5, 0.5])
        trainer = tiny_trainer(
            tmp_path,
            compute_metrics=lambda _: {"score": next(scores)},
            max_steps=2,
            eval_strategy="steps",
            save_strategy="steps",
            eval_steps=1,
            save_steps=1,
            load_best_model_at_end=True,
            metric_for_best_model="score",
            greater_is_better=True,
        )
        trainer.train()
        of_best, of_last = (line for line in trainer.state.log_history if "eval_images" in line)
        told = trainer.card_facts()
        assert (told.step, told.selected) == (1, True)
        assert told.measurements[0].figures["ece"] == of_best["eval_ece"] != of_last["eval_ece"]
        again = trainer.evaluate(TinyImages(10, seed=3))
        assert trainer.card_facts().measurements[0].images == again["eval_images"] == 10

    def test_the_card_is_whole_at_any_instant(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path)
        trainer.create_model_card(model_name="first")
        path = tmp_path / "README.md"
        with open(path, encoding="utf-8") as reader:
            trainer.create_model_card(model_name="second", license="mit", dataset="Mine", dataset_tags="me/mine")
            assert "# first" in reader.read()
        card = ModelCard.load(path)
        assert "# second" in card.text
        assert (card.data.license, card.data.datasets) == ("mit", ["me/mine"])
        assert [file.name for file in tmp_path.iterdir()] == ["README.md"]

    def test_no_local_path_becomes_public(self, tmp_path: Path) -> None:
        tiny_vit().save_pretrained(tmp_path / "start")
        model = type(tiny_vit()).from_pretrained(tmp_path / "start")
        trainer = tiny_trainer(tmp_path / "run", model=model)
        assert trainer.card_facts().base_model is None
        trainer.create_model_card()
        assert str(tmp_path) not in (tmp_path / "run" / "README.md").read_text()
        model.config._name_or_path = "google/vit-base-patch16-224"
        assert trainer.card_facts().base_model == "google/vit-base-patch16-224"


def test_hub_names_and_paths_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "local").mkdir(parents=True)
    assert hub_name("uoft-cs/cifar10") == "uoft-cs/cifar10"
    for path in ("owner/local", "/home/me/model", "./a/b", "~/model", "../a/b", "digits", "a/b/c", ""):
        assert hub_name(path) is None


@pytest.mark.parametrize(
    ("method", "paper", "weights"),
    [
        ("trades", "Zhang et al. 2019", {"trades_beta": "6"}),
        ("mart", "Wang et al., ICLR 2020", {"mart_beta": "5"}),
        ("ikl", "Cui et al., NeurIPS 2024", {"ikl_alpha": "20", "ikl_beta": "4", "ikl_temperature": "4"}),
    ],
)
def test_a_comparing_objective_has_its_paper_and_its_weights(
    tmp_path: Path, method: str, paper: str, weights: dict[str, str]
) -> None:
    config = tiny_config(tmp_path, method=method)
    assert paper in method_in_words(config)
    settings = recipe_settings(config, total_steps=3)
    of_objectives = ("trades_", "mart_", "ikl_")
    assert {name: value for name, value in settings.items() if name.startswith(of_objectives)} == weights
