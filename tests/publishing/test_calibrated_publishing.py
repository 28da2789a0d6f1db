"""One run of `adsr train` that publishes a calibrated checkpoint: its record, its card and its page."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageClassification

from adsr_hf.runs.recipe import load_recipe
from adsr_hf.runs.summary import closing_lines
from adsr_hf.runs.train import Run, train_recipe
from tests.report.reading import Reader, change_run, change_summary, page_of, write_run

ROOT = Path(__file__).parents[2]
FLAGS = {
    "max_steps": 25,
    "epsilon_ramp_epochs": 0,
    "epsilon": 0.03,
    "max_train_images": 400,
    "max_eval_images": 60,
    "attack_steps": 1,
    "eval_attack_steps": 2,
    "eval_strategy": "no",
    "calibrate": "mixed",
    "calibrate_adversarial_share": 0.25,
    "publish": "teacher",
    "teacher_decay": 0.8,
    "disable_tqdm": "true",
}
RECORD: dict[str, Any] = {
    "temperature": 0.712,
    "fitted_on": "mixed",
    "images": 1234,
    "share": 0.25,
    "weights": "student",
    "before": {"validation": {"ece": 0.2111, "robust_ece": 0.1222}, "test": {"ece": 0.2333}},
    "after": {"validation": {"ece": 0.0111, "robust_ece": 0.0222}, "test": {"ece": 0.0333}},
}


def train(folder: Path, **flags: Any) -> Run:
    given = [word for name, value in (FLAGS | flags).items() for word in (f"--{name}", str(value))]
    recipe = load_recipe(ROOT / "recipes" / "digits" / "vit_adsr.yaml", ["--output_dir", str(folder), *given])
    return train_recipe(recipe.config, recipe.data, recipe.model)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("published")
    return train(folder), folder


def test_the_record_says_what_was_done_and_the_test_figures_are_of_the_result(run: tuple[Run, Path]) -> None:
    record = json.loads((run[1] / "run.json").read_text())
    calibration, test = record["calibration"], record["test"]
    assert (calibration["fitted_on"], calibration["share"], calibration["images"]) == ("mixed", 0.25, 60)
    assert calibration["weights"] == "teacher"
    assert calibration["before"].keys() == calibration["after"].keys() == {"validation", "test"}
    # The recipe's evaluate_weights is 'student': the published teacher is measured by calibrate() all the same.
    assert "test_teacher_ece" not in test
    assert test["test_ece"] != calibration["before"]["test"]["ece"]
    assert record["config"]["calibrate"] == "mixed"
    saved = AutoModelForImageClassification.from_pretrained(run[1])
    assert saved.config.adsr_calibration == calibration


def test_the_closing_lines_name_the_weights_that_were_calibrated(run: tuple[Run, Path]) -> None:
    lines = list(closing_lines(run[0].trainer, run[0].data, run[0].record))
    assert lines[0] == "published: the teacher's weights (moving average) after the last step, 25"
    temperature = run[0].record["calibration"]["temperature"]
    told = f"(mixed): the teacher's logits are divided by {temperature:.3g}"
    assert lines[1] == f"  calibrated on 60 validation images {told}"


def test_the_published_logits_are_the_teachers_divided(run: tuple[Run, Path], tmp_path: Path) -> None:
    calibrated, plain = run[0], train(tmp_path, calibrate="none")
    assert plain.record["calibration"] is None
    images = torch.stack([run[0].data.test[index]["pixel_values"] for index in range(20)])
    folders = (run[1], tmp_path)
    with torch.no_grad():
        folded, trained = (
            AutoModelForImageClassification.from_pretrained(folder).eval()(pixel_values=images).logits
            for folder in folders
        )
    torch.testing.assert_close(folded, trained / calibrated.record["calibration"]["temperature"], rtol=1e-4, atol=1e-5)
    assert torch.equal(folded.argmax(1), trained.argmax(1))
    # Neither what was trained, nor the figures of the student, which is not published, is touched.
    same = ("test_accuracy", "test_robust_accuracy", "test_ece", "test_robust_ece")
    assert all(calibrated.record["test"][name] == plain.record["test"][name] for name in same)


def test_the_card_tells_it(run: tuple[Run, Path]) -> None:
    run[0].trainer.create_model_card()
    text = (run[1] / "README.md").read_text()
    calibration = run[0].record["calibration"]
    assert f"One temperature, {calibration['temperature']:.4g}, was fitted on 60 held-out validation images" in text
    assert "clean and attacked (weight of the attacked: 25%)" in text
    for split in ("validation", "test"):
        for name, condition in (("ece", "clean"), ("robust_ece", "under attack")):
            before, after = (calibration[when][split][name] for when in ("before", "after"))
            assert f"| {split} images, {condition} | {before:.1%} | {after:.1%} |" in text
    assert f"| expected calibration error, clean images | {calibration['after']['test']['ece']:.1%} |" in text


def test_images_that_fit_no_temperature_do_not_lose_the_run(tmp_path: Path) -> None:
    run = train(tmp_path, max_steps=1, learning_rate=1e-9, calibrate="adversarial", publish="student", epsilon=0.3)
    assert run.record["calibration"].keys() == {"refused"}
    assert run.record["calibration"]["refused"]["code"] == "not_calibrated.by_chance"
    assert (tmp_path / "model.safetensors").is_file()


def test_no_held_out_images_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"calibrate='mixed' needs one set of held-out images.*validation_fraction"):
        train(tmp_path, validation_fraction=0.0)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run; each test says what its run.json holds."""
    return write_run(tmp_path_factory.mktemp("page") / "run", examples=0)


class TestPage:
    def test_it_shows_before_and_after(self, recorded: Path) -> None:
        change_run(recorded, calibration=RECORD)
        page = Reader(page_of(recorded))
        assert "run is published calibrated: one temperature, 0.71, fitted on 1,234 validation images" in page.text
        assert "clean and attacked, the attacked with a weight of 25%" in page.text
        assert page.row("validation images, clean") == ["21.1%", "1.1%"]
        assert page.row("validation images, under attack") == ["12.2%", "2.2%"]
        assert page.row("test images, clean") == ["23.3%", "3.3%"]

    def test_it_says_why_there_is_none(self, recorded: Path) -> None:
        change_run(recorded, calibration={"refused": "no temperature fits"})
        assert "run could not be calibrated: no temperature fits" in Reader(page_of(recorded)).text

    def test_a_teacher_measured_beside_a_published_student_is_as_it_was_trained(self, recorded: Path) -> None:
        change_run(recorded, calibration=RECORD)
        model = json.loads((recorded / "evaluation" / "summary.json").read_text())["model"]
        change_summary(recorded, model=model | {"weights": "teacher", "published": False})
        assert "published calibrated" not in Reader(page_of(recorded)).text
        change_summary(recorded, model=model)
