"""Calibrated publishing through the trainer: the fit, what stays, which weights, resumption, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from transformers import AutoModelForImageClassification

from adsr_hf import ADSRTrainer
from adsr_hf.fine_tuning.lora import add_adapters
from adsr_hf.measures.calibration import expected_calibration_error
from adsr_hf.networks.adapted import merged_copy
from adsr_hf.publishing.card_text import card_text
from adsr_hf.publishing.fitting import CalibrationError
from adsr_hf.publishing.head import UnfoldableHeadError
from adsr_hf.settings.calibration import CalibrationArguments
from tests.publishing.test_head import Bounded
from tests.tiny import TinyImages, tiny_config, tiny_model, tiny_trainer, tiny_vit

HELD_OUT = TinyImages(48, seed=11, noise=0.9)
TEST = TinyImages(48, seed=12, noise=0.9)


def logits(model: nn.Module, images: TinyImages = HELD_OUT) -> Tensor:
    with torch.no_grad():
        return model.eval()(pixel_values=images.pixel_values).logits


def error(answers: Tensor, images: TinyImages = HELD_OUT) -> float:
    return expected_calibration_error(answers.softmax(1), images.labels)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights that know the classes and, their head twenty times too large, are far too sure of them."""
    folder = tmp_path_factory.mktemp("trained")
    trainer = tiny_trainer(folder, method="clean", max_steps=25, learning_rate=1e-2, train_dataset=TinyImages(64))
    trainer.train()
    model = trainer.model
    with torch.no_grad():
        model.classifier.weight.mul_(20)
        model.classifier.bias.mul_(20)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def overconfident(state: dict[str, Tensor]) -> nn.Module:
    model = tiny_vit()
    model.load_state_dict(state)
    return model


def trainer_of(folder: Path, state: dict[str, Tensor], **config: Any) -> ADSRTrainer:
    settings = {"method": "clean", "calibrate": "clean", "epsilon": 2 / 255} | config
    return tiny_trainer(folder, model=overconfident(state), eval_dataset=HELD_OUT, **settings)


class TestFit:
    def test_the_error_falls_and_every_prediction_stays(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        trainer = trainer_of(tmp_path, state)
        before = logits(trainer.model)
        noise = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        record = trainer.calibrate(test_dataset=TEST)
        after = logits(trainer.model)
        torch.testing.assert_close(after, before / record["temperature"], rtol=1e-5, atol=1e-6)
        assert torch.equal(after.argmax(1), before.argmax(1))
        with torch.no_grad():
            answers = [
                one.eval()(pixel_values=noise).logits.argmax(1) for one in (trainer.model, overconfident(state))
            ]
        assert torch.equal(*answers)
        assert record["temperature"] > 2
        assert record["after"]["validation"]["ece"] < 0.6 * record["before"]["validation"]["ece"]
        assert record["after"]["test"]["ece"] < record["before"]["test"]["ece"]
        assert record["before"]["validation"]["ece"] == pytest.approx(error(before), abs=1e-6)
        assert record["after"]["validation"]["ece"] == pytest.approx(error(after), abs=1e-6)
        assert record["after"]["test"]["ece"] == pytest.approx(error(logits(trainer.model, TEST), TEST), abs=1e-6)
        assert {name: record[name] for name in ("fitted_on", "images", "share", "weights")} == {
            "fitted_on": "clean",
            "images": 48,
            "share": 0.0,
            "weights": "student",
        }

    @pytest.mark.parametrize(("calibrate", "share"), [("clean", 0.0), ("adversarial", 1.0), ("mixed", 0.3)])
    def test_the_temperature_is_where_an_independent_search_finds_it(
        self, tmp_path: Path, state: dict[str, Tensor], calibrate: str, share: float
    ) -> None:
        trainer = trainer_of(tmp_path, state, calibrate=calibrate, calibrate_adversarial_share=0.3)
        measured = trainer._published_logits(HELD_OUT)
        clean, attacked = logits(trainer.model).double(), measured.attacked.double()

        def loss(log_temperature: float) -> float:
            parts = [
                nn.functional.cross_entropy(one / torch.tensor(log_temperature).exp(), HELD_OUT.labels).item()
                for one in (clean, attacked)
            ]
            return (1 - share) * parts[0] + share * parts[1]

        found = minimize_scalar(loss, bounds=(-4.6, 4.6), method="bounded", options={"xatol": 1e-9})
        record = trainer.calibrate()
        assert record["temperature"] == pytest.approx(float(torch.tensor(found.x).exp()), rel=1e-3)
        assert record["share"] == share
        assert record["after"]["validation"].keys() == {"ece", "robust_ece"}

    def test_a_second_call_finds_nothing_to_change(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        trainer = trainer_of(tmp_path, state)
        first = trainer.calibrate()
        weights = trainer.model.classifier.weight.clone()
        second = trainer.calibrate()
        torch.testing.assert_close(trainer.model.classifier.weight, weights, rtol=1e-5, atol=0)
        assert second["temperature"] == pytest.approx(first["temperature"], rel=1e-5)
        assert second["before"] == first["before"]

    def test_the_attacks_of_two_classes_are_the_same(self, tmp_path: Path) -> None:
        """With two classes the gradient's direction does not depend on T: robust accuracy is the same to the image."""
        images = TinyImages(48, seed=11, noise=0.9)
        images.labels = images.labels % 2
        settings = {
            "method": "clean",
            "calibrate": "clean",
            "epsilon": 2 / 255,
            "max_steps": 20,
            "learning_rate": 1e-2,
        }
        trainer = tiny_trainer(
            tmp_path, model=tiny_vit(num_labels=2), train_dataset=images, eval_dataset=images_of_two(), **settings
        )
        trainer.train()
        before = trainer._published_logits(trainer.eval_dataset)
        trainer.calibrate()
        after = trainer._published_logits(trainer.eval_dataset)
        assert torch.equal(before.attacked.argmax(1), after.attacked.argmax(1))


def images_of_two() -> TinyImages:
    images = TinyImages(40, seed=13, noise=0.9)
    images.labels = images.labels % 2
    return images


class TestWhatIsPublished:
    def test_checkpoints_hold_the_trained_head_and_the_model_the_folded_one(
        self, tmp_path: Path, state: dict[str, Tensor]
    ) -> None:
        settings = {"calibrate": "mixed", "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
        settings |= {"learning_rate": 1e-3, "method": "pgd_at", "epsilon": 1 / 255}
        records = []
        for folder, resume in ((tmp_path, None), (tmp_path, True)):
            trainer = tiny_trainer(folder, model=overconfident(state), eval_dataset=HELD_OUT, **settings)
            trainer.train(resume)
            trained = logits(trainer.model)
            records.append(trainer.calibrate())
            trainer.save_model()
            checkpoint = AutoModelForImageClassification.from_pretrained(tmp_path / "checkpoint-4")
            assert torch.equal(logits(checkpoint), trained)
            assert not hasattr(checkpoint.config, "adsr_calibration")
        assert records[0] == records[1]
        published = AutoModelForImageClassification.from_pretrained(tmp_path)
        assert torch.equal(logits(published), logits(trainer.model))
        torch.testing.assert_close(logits(published), trained / records[0]["temperature"], rtol=1e-5, atol=1e-6)
        assert published.config.adsr_calibration == records[0]
        assert json.loads((tmp_path / "config.json").read_text())["adsr_calibration"] == records[0]

    @pytest.mark.parametrize("frozen", [False, True])
    @pytest.mark.parametrize("publish", ["student", "teacher"])
    def test_only_the_published_network_is_folded(
        self, tmp_path: Path, state: dict[str, Tensor], publish: str, frozen: bool
    ) -> None:
        """A frozen head is one and the same tensor in student and teacher."""
        trainer = trainer_of(tmp_path, state, method="adsr", publish=publish, evaluate_weights="student")
        trainer.model.classifier.requires_grad_(not frozen)
        trainer.train()
        networks = {"student": trainer.model, "teacher": trainer.teacher.model}
        before = {name: logits(network) for name, network in networks.items()}
        record = trainer.calibrate()
        assert record["weights"] == publish
        for name, network in networks.items():
            temperature = record["temperature"] if name == publish else 1.0
            torch.testing.assert_close(logits(network), before[name] / temperature, rtol=1e-5, atol=1e-6)
        trainer.save_model()
        published = AutoModelForImageClassification.from_pretrained(tmp_path)
        assert torch.equal(logits(published), logits(networks[publish]))
        assert published.config.adsr_calibration == record

    @pytest.mark.parametrize("publish", ["student", "teacher"])
    def test_adapters_are_merged_beside_the_folded_head(
        self, tmp_path: Path, state: dict[str, Tensor], publish: str
    ) -> None:
        pytest.importorskip("peft")
        model = add_adapters(overconfident(state), rank=2)
        trainer = tiny_trainer(
            tmp_path, model=model, eval_dataset=HELD_OUT, calibrate="clean", publish=publish, epsilon=1 / 255
        )
        trainer.train()
        before = logits(merged_copy(trainer.published_model()))
        record = trainer.calibrate()
        trainer.save_model()
        published = AutoModelForImageClassification.from_pretrained(tmp_path)
        torch.testing.assert_close(logits(published), before / record["temperature"], rtol=1e-4, atol=1e-5)
        assert published.config.adsr_calibration == record

    def test_training_again_forgets_the_record(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        trainer = trainer_of(tmp_path, state, max_steps=1)
        trainer.calibrate()
        assert trainer.card_facts().calibration is not None
        trainer.train()
        assert not hasattr(trainer.model.config, "adsr_calibration")
        assert trainer.card_facts().calibration is None

    def test_the_card_tells_figures_of_the_folded_weights(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        trainer = trainer_of(tmp_path, state)
        earlier = trainer.evaluate()
        record = trainer.calibrate()
        (measured,) = trainer.card_facts().measurements
        assert (measured.split, measured.images) == ("validation", 48)
        assert measured.figures["ece"] == record["after"]["validation"]["ece"] != earlier["eval_ece"]
        assert measured.figures["accuracy"] == earlier["eval_accuracy"]
        trainer.evaluate(TEST, metric_key_prefix="test")
        (measured,) = trainer.card_facts().measurements
        assert measured.split == "test"
        text = card_text(trainer.card_facts())
        before, after = (record[when]["validation"]["ece"] for when in ("before", "after"))
        assert f"| validation images, clean | {before:.1%} | {after:.1%} |" in text
        assert (
            f"One temperature, {record['temperature']:.4g}, was fitted on 48 held-out validation images, clean,"
            in text
        )
        # A model that was reloaded says the same.
        trainer.save_model()
        reloaded = AutoModelForImageClassification.from_pretrained(tmp_path)
        again = tiny_trainer(tmp_path / "again", model=reloaded, method="clean").card_facts()
        assert again.calibration == trainer.card_facts().calibration
        assert again.measurements == ()


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"calibrate": "both"}, "calibrate='both' is unknown; choose one of 'none', 'clean'"),
            ({"calibrate": "mixed", "epsilon": 0, "method": "clean"}, r"calibrate='mixed'.*epsilon=0.*8/255"),
            (
                {"calibrate": "adversarial", "eval_attack_steps": 0},
                "eval_attack_steps=0 switches it off; set it to 10",
            ),
            ({"calibrate_adversarial_share": 1.5}, r"calibrate_adversarial_share=1.5 must lie in \[0, 1\]"),
            (
                {"calibrate": "mixed", "calibrate_adversarial_share": 1.0},
                "calibrate_adversarial_share=1 .*use calibrate='adversarial'",
            ),
        ],
    )
    def test_settings(self, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            tiny_config(tmp_path, **settings)

    def test_clean_calibration_needs_no_attack(self) -> None:
        CalibrationArguments(calibrate="clean").check_calibration(epsilon=0, eval_attack_steps=0)

    def test_a_head_that_cannot_be_folded_is_refused_before_training(self, tmp_path: Path) -> None:
        model = Bounded(tiny_model("vit", initializer_range=1.0).config)
        trainer = tiny_trainer(tmp_path, model=model, calibrate="clean")
        with pytest.raises(UnfoldableHeadError, match="does not divide the logits"):
            trainer.train()
        assert trainer.state.global_step == 0

    def test_images_that_are_not_held_out(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        trainer = trainer_of(tmp_path, state)
        with pytest.raises(ValueError, match="the train_dataset, on which confidence is too high"):
            trainer.calibrate(trainer.train_dataset)
        trainer.eval_dataset = {"a": HELD_OUT, "b": TEST}
        with pytest.raises(ValueError, match=r"eval_dataset holds several sets: a, b"):
            trainer.calibrate()
        trainer.eval_dataset = None
        for step in (trainer.calibrate, trainer.train):
            with pytest.raises(ValueError, match=r"calibrate='clean' needs one set of held-out images, and there are"):
                step()

    def test_a_call_without_the_setting(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        with pytest.raises(ValueError, match=r"calibrate='none' fits no temperature.*calibrate='clean'"):
            trainer_of(tmp_path, state, calibrate="none").calibrate()

    def test_images_without_an_error_leave_the_weights_alone(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        trainer = trainer_of(tmp_path, state)
        images = TinyImages(12, seed=5)
        images.labels = logits(trainer.model, images).argmax(1)
        before = trainer.model.classifier.weight.clone()
        with pytest.raises(
            CalibrationError, match=r"0\.01 and 100 fits the 12 held-out.*none of them is misclassified"
        ):
            trainer.calibrate(images)
        assert torch.equal(trainer.model.classifier.weight, before)
        assert not hasattr(trainer.model.config, "adsr_calibration")
