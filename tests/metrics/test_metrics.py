import doctest
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from evaluate.utils.logging import set_verbosity_error
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

import adsr_hf.metrics
from adsr_hf.metrics import (
    BrierScore,
    ClasswiseCalibrationError,
    ExpectedCalibrationError,
    FlipRate,
    NegativeLogLikelihood,
    OutputStability,
    RobustAccuracy,
)

set_verbosity_error()

FOLDER = Path(adsr_hf.metrics.__file__).parent
CARDS = sorted(FOLDER.glob("*/README.md"))

CLEAN = [0, 1, 2, 0, 1, 2, 0]
ADVERSARIAL = [0, 2, 2, 1, 1, 0, 1]
LABELS = [0, 1, 2, 1, 2, 0, 0]  # right under attack: images 0, 2, 3, 5; on both: 0, 2; flipped: 1, 3, 5, 6
UNEVEN_BATCHES = (slice(0, 1), slice(1, 5), slice(5, 7))


def random_probabilities(images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(images, classes, generator=generator)
    return logits.softmax(1), torch.randint(classes, (images,), generator=generator)


def test_robust_accuracy_by_hand() -> None:
    metric = RobustAccuracy()
    assert metric.compute(predictions=ADVERSARIAL, references=LABELS) == {"robust_accuracy": 4 / 7}
    both = metric.compute(predictions=ADVERSARIAL, references=LABELS, clean_predictions=CLEAN)
    assert both == {"robust_accuracy": 2 / 7}


def test_flip_rate_by_hand() -> None:
    assert FlipRate().compute(predictions=ADVERSARIAL, clean_predictions=CLEAN) == {"flip_rate": 4 / 7}


@pytest.mark.parametrize("container", [list, np.array, torch.tensor])
def test_uneven_batches_give_what_one_call_gives(container: type) -> None:
    metrics = evaluate.combine([RobustAccuracy("clean_and_adversarial"), FlipRate()])
    for batch in UNEVEN_BATCHES:
        metrics.add_batch(
            predictions=container(ADVERSARIAL[batch]),
            references=container(LABELS[batch]),
            clean_predictions=container(CLEAN[batch]),
        )
    assert metrics.compute() == {"robust_accuracy": 2 / 7, "flip_rate": 4 / 7}


def test_combined_metrics_take_clean_predictions_at_once() -> None:
    metrics = evaluate.combine([RobustAccuracy(), FlipRate()])
    results = metrics.compute(predictions=ADVERSARIAL, references=LABELS, clean_predictions=CLEAN)
    assert results == {"robust_accuracy": 2 / 7, "flip_rate": 4 / 7}


def test_single_images_can_be_added() -> None:
    metric = RobustAccuracy("clean_and_adversarial")
    for adversarial, label, clean in zip(ADVERSARIAL, LABELS, CLEAN, strict=True):
        metric.add(prediction=adversarial, reference=label, clean_predictions=clean)
    assert metric.compute() == {"robust_accuracy": 2 / 7}


@pytest.mark.parametrize("convert", [torch.Tensor.tolist, torch.Tensor.numpy, torch.clone])
def test_calibration_error_in_uneven_batches_equals_torchmetrics(convert) -> None:
    probabilities, labels = random_probabilities(100, 5)
    metric = ExpectedCalibrationError()
    for batch in (slice(0, 64), slice(64, 97), slice(97, 100)):
        metric.add_batch(probabilities=convert(probabilities[batch]), references=convert(labels[batch]))
    expected = multiclass_calibration_error(probabilities, labels, 5, n_bins=10, norm="l1").item()
    assert metric.compute(bins=10)["expected_calibration_error"] == pytest.approx(expected, abs=1e-6)


def test_calibration_errors_of_several_binnings_can_be_combined() -> None:
    # Two images, 0.6 right and 0.8 wrong: one bin |0.5 − 0.7|; two bins of one image (0.4 + 0.8) / 2.
    inputs = {"probabilities": [[0.6, 0.4], [0.8, 0.2]], "references": [0, 1]}
    combined = evaluate.combine({"here": ExpectedCalibrationError(), "there": ExpectedCalibrationError()})
    combined.add_batch(**inputs)
    result = combined.compute(bins=1)
    assert result == {
        "here_expected_calibration_error": pytest.approx(0.2),
        "there_expected_calibration_error": pytest.approx(0.2),
    }
    by_mass = ExpectedCalibrationError().compute(**inputs, bins=2, binning="equal_mass")
    assert by_mass == {"expected_calibration_error": pytest.approx(0.6)}


def test_brier_score_and_likelihood_in_uneven_batches_equal_scikit_learns() -> None:
    probabilities, labels = random_probabilities(100, 5)
    brier, likelihood = BrierScore(), NegativeLogLikelihood()
    for batch in (slice(0, 64), slice(64, 97), slice(97, 100)):
        brier.add_batch(probabilities=probabilities[batch], references=labels[batch])
        likelihood.add_batch(logits=probabilities[batch].log(), references=labels[batch])
    rows = probabilities.double().numpy()
    one_vs_rest = sum(brier_score_loss(labels == k, rows[:, k]) for k in range(5))
    assert brier.compute()["brier_score"] == pytest.approx(one_vs_rest, abs=1e-6)
    expected = log_loss(labels, rows / rows.sum(1, keepdims=True))
    assert likelihood.compute()["negative_log_likelihood"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_classwise_error_is_the_mean_of_the_classes_binary_errors_of_torchmetrics(bins: int) -> None:
    probabilities, labels = random_probabilities(200, 4)
    result = ClasswiseCalibrationError().compute(probabilities=probabilities, references=labels, bins=bins)
    # torchmetrics' binary form takes the probability of class 1 as it is, also where it is below one half.
    expected = np.mean(
        [
            float(binary_calibration_error(probabilities[:, k], (labels == k).long(), n_bins=bins, norm="l1"))
            for k in range(4)
        ]
    )
    assert result["classwise_calibration_error"] == pytest.approx(expected, abs=1e-6)


def test_output_stability_by_hand_in_batches() -> None:
    # Total variations 0.2 and 1 and 0: stability 1 − 0.4.
    metric = OutputStability()
    metric.add_batch(probabilities=[[0.5, 0.5], [0.0, 1.0]], clean_probabilities=[[0.7, 0.3], [1.0, 0.0]])
    metric.add_batch(probabilities=[[0.1, 0.9]], clean_probabilities=[[0.1, 0.9]])
    assert metric.compute() == {"output_stability": pytest.approx(0.6)}


@pytest.mark.parametrize(
    ("metric", "inputs", "message"),
    [
        (RobustAccuracy, {"predictions": [], "references": []}, "hold no images"),
        (FlipRate, {"predictions": [], "clean_predictions": []}, "hold no images"),
        (ExpectedCalibrationError, {"probabilities": [], "references": []}, "probabilities"),
        (
            RobustAccuracy,
            {"predictions": [0, 1], "references": [0, 1], "clean_predictions": [0]},
            "clean_predictions has 1 entries for 2 references",
        ),
        (
            ExpectedCalibrationError,
            {"probabilities": [[0.5, 0.5], [0.2, 0.3, 0.5]], "references": [0, 1]},
            r"rows of \[2, 3\] columns",
        ),
        (OutputStability, {"probabilities": [], "clean_probabilities": []}, "hold no images"),
        (
            OutputStability,
            {"probabilities": [[0.5, 0.5]], "clean_probabilities": [[4.0, -3.0]]},
            "clean_probabilities must be at least 0",
        ),
        (
            OutputStability,
            {"probabilities": [[0.5, 0.5]], "clean_probabilities": [[0.5, 0.2, 0.3]]},
            r"rows of \[2, 3\] columns",
        ),
        (BrierScore, {"probabilities": [[4.0, -1.0]], "references": [0]}, "not logits"),
        (ClasswiseCalibrationError, {"probabilities": [[1.0], [0.5, 0.5]], "references": [0, 1]}, r"\[1, 2\]"),
        (NegativeLogLikelihood, {"logits": [[float("nan"), 0.0]], "references": [0]}, "logits must be finite"),
        (
            ExpectedCalibrationError,
            {"probabilities": [[4.0, -1.0]], "references": [0]},
            r"pass logits\.float\(\)\.softmax\(1\), not logits",
        ),
    ],
)
def test_wrong_inputs_are_named(metric: type, inputs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric().compute(**inputs)


def test_an_unknown_configuration_is_named() -> None:
    with pytest.raises(ValueError, match="config_name='clean' is unknown; choose one of default, clean_and_adversar"):
        RobustAccuracy("clean")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_the_examples_of_a_card_give_what_it_prints(card: Path) -> None:
    outcome = doctest.testfile(str(card), module_relative=False)
    assert outcome.attempted >= 2
    assert outcome.failed == 0


def test_each_metric_has_a_card_that_names_its_inputs_and_output() -> None:
    metrics = [getattr(adsr_hf.metrics, name)() for name in adsr_hf.metrics.__all__]
    assert {metric.name for metric in metrics} == {card.parent.name for card in CARDS}
    for metric in metrics:
        card = (FOLDER / metric.name / "README.md").read_text()
        assert all(f"- **{name}**" in card for name in (*metric.features, metric.name))
