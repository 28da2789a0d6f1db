"""Class by class: every number against one counted by hand, or against the rows by another way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from adsr_hf.attacks import ThreatModel
from adsr_hf.evaluation.checks import check_class_names
from adsr_hf.evaluation.classes import (
    CONFUSION_CLASSES,
    class_figures,
    class_notes,
    confusion_matrix,
    confusion_of,
    majority_of,
)
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.provenance import Provenance
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.suite import evaluate
from adsr_hf.evaluation.vectors import figure_vector
from adsr_hf.measures.statistics import wilson_interval
from adsr_hf.records.sentences import worded
from tests.evaluation.subjects import SPACE, images, trained_model

THREAT = "Linf 4/255"
#                 good  good  good   good  defective ×2   (wrong images keep their clean prediction under attack)
LABELS = np.array([0, 0, 0, 0, 1, 1])
CLEAN = np.array([0, 0, 0, 1, 1, 0])
WORST = np.array([0, 1, 0, 1, 0, 0])


def records_of(
    labels: np.ndarray,
    clean: np.ndarray,
    worst: np.ndarray,
    names: Sequence[str],
    positive: str | None = None,
) -> EvaluationRecords:
    columns = {"label": labels, "clean.prediction": clean, f"{THREAT}.worst.prediction": worst}
    summary: dict[str, Any] = {
        "model": {"class_names": list(names), "num_classes": len(names)},
        "threats": [THREAT],
        "attacks": [{"name": "pgd"}],
        "positive_class": positive,
    }
    return EvaluationRecords(summary, pyarrow.table(columns))


@pytest.fixture
def cells() -> EvaluationRecords:
    return records_of(LABELS, CLEAN, WORST, ["good", "defective"], "defective")


def entry(hits: int, total: int) -> dict[str, Any]:
    return {"value": hits / total, "interval": list(wilson_interval(hits, total)), "images": total}


def test_figures_by_hand(cells: EvaluationRecords) -> None:
    assert class_figures(cells) == {
        "majority_share": entry(4, 6),
        "class_accuracy/good": entry(3, 4),
        "class_accuracy/defective": entry(1, 2),
        f"{THREAT}/class_robust_accuracy/good": entry(2, 4),
        f"{THREAT}/class_robust_accuracy/defective": entry(0, 2),
        "missed_rate": entry(1, 2),
        "false_alarm_rate": entry(1, 4),
        f"{THREAT}/robust_missed_rate": entry(2, 2),
        f"{THREAT}/robust_false_alarm_rate": entry(2, 4),
    }


def test_the_other_class_can_be_the_positive_one() -> None:
    figures = class_figures(records_of(LABELS, CLEAN, WORST, ["good", "defective"], "good"))
    assert figures["missed_rate"] == entry(1, 4)
    assert figures["false_alarm_rate"] == entry(1, 2)


def test_without_a_positive_class_no_error_is_called_missed(cells: EvaluationRecords) -> None:
    cells.summary["positive_class"] = None
    assert not [name for name in class_figures(cells) if name.endswith("_rate")]
    assert figure_vector(cells, "missed_rate") is None


def test_vectors_are_of_the_images_of_the_class_in_order(cells: EvaluationRecords) -> None:
    assert figure_vector(cells, "class_accuracy/good").tolist() == [1, 1, 1, 0]
    assert figure_vector(cells, f"{THREAT}/class_robust_accuracy/good").tolist() == [1, 0, 1, 0]
    assert figure_vector(cells, f"{THREAT}/robust_missed_rate").tolist() == [1, 1]
    for name in ("class_accuracy/dirty", "Linf 9/255/class_robust_accuracy/good", f"{THREAT}/missed_rate"):
        assert figure_vector(cells, name) is None


def test_confusion_by_hand(cells: EvaluationRecords) -> None:
    assert confusion_of(cells) == {"clean": [[3, 1], [1, 1]], THREAT: [[2, 2], [2, 0]]}


def test_confusion_equals_scikit_learns() -> None:
    random = np.random.default_rng(0)
    labels, clean, worst = random.integers(0, 7, (3, 200))
    found = records_of(labels, clean, worst, [f"class {index}" for index in range(7)])
    for condition, predicted in (("clean", clean), (THREAT, worst)):
        theirs = sklearn_confusion_matrix(labels, predicted, labels=range(7))
        assert (confusion_matrix(found, condition) == theirs).all()


def test_a_class_without_images_is_left_out_and_named() -> None:
    found = records_of(LABELS, CLEAN, WORST, ["good", "defective", "a/b"])
    assert {name for name in class_figures(found) if "class_" in name} == {
        *(f"class_accuracy/{name}" for name in ("good", "defective")),
        *(f"{THREAT}/class_robust_accuracy/{name}" for name in ("good", "defective")),
    }
    assert figure_vector(found, "class_accuracy/a/b") is None
    assert list(map(worded, class_notes(found))) == ["1 of 3 classes have no image here, and no figures: 'a/b'"]
    assert confusion_matrix(found, "clean").shape == (3, 3)


def test_too_many_classes_for_a_matrix_are_said_to_be() -> None:
    names = [str(index) for index in range(CONFUSION_CLASSES + 1)]
    labels = np.arange(len(names))
    found = records_of(labels, labels, labels, names)
    assert confusion_of(found) is None
    [note] = class_notes(found)
    assert "confusion matrix is left out, since 101 classes" in worded(note)


@pytest.mark.parametrize(
    ("right", "beaten"),
    [(68, False), (71, False), (78, True), (40, False)],
)
def test_the_majority_is_beaten_only_where_the_interval_is_above_it(right: int, beaten: bool) -> None:
    """68 of 100 images are good; 71 right is within what chance makes of 68, 78 is not."""
    labels = np.array([0] * 68 + [1] * 32)
    predicted = np.where(np.arange(100) < right, labels, 1 - labels)
    found = records_of(labels, predicted, predicted, ["good", "defective"])
    figures = {"accuracy": entry(right, 100), f"{THREAT}/robust_accuracy": entry(right, 100)}
    found.summary["figures"] = figures | class_figures(found)
    assert majority_of(found) == {"class": "good", "share": 0.68, "beaten": {"clean": beaten, THREAT: beaten}}


def test_a_positive_class_is_one_of_the_two() -> None:
    check_class_names(["good", "defective"], 2, "defective")
    with pytest.raises(
        ValueError, match=r"positive_class='defect' must be one of the two classes \['good', 'defective'\]"
    ):
        check_class_names(["good", "defective"], 2, "defect")


class TestEvaluate:
    """The suite's own records."""

    def measured(self, **subject: Any) -> EvaluationRecords:
        plan = Plan([ThreatModel.parse(THREAT)], num_steps=2)
        torch.manual_seed(0)
        return evaluate(
            trained_model(),
            images(40),
            plan,
            pixel_space=SPACE,
            provenance=Provenance(**subject),
            show_progress=False,
        )

    def test_every_figure_of_a_class_is_the_mean_of_its_vector_and_in_the_matrix(self) -> None:
        names = ["a/b", "accuracy", "robust_ece", "ばね"]
        records = self.measured(class_names=names)
        assert records.summary["positive_class"] is None
        for condition, prefix in (("clean", "class_accuracy/"), (THREAT, f"{THREAT}/class_robust_accuracy/")):
            matrix = np.array(records.summary["confusion"][condition])
            for index, name in enumerate(names):
                found = records.summary["figures"][f"{prefix}{name}"]
                assert found["value"] == matrix[index, index] / matrix[index].sum()
                assert found["images"] == matrix[index].sum()
                vector = figure_vector(records, f"{prefix}{name}")
                assert len(vector) == found["images"]
                assert vector.mean() == found["value"]
            figure = "accuracy" if condition == "clean" else f"{THREAT}/robust_accuracy"
            assert records.figure(figure) == matrix.trace() / matrix.sum()

    @pytest.mark.parametrize(
        ("subject", "message"),
        [
            ({"class_names": ["a", "b"]}, "must be 4 names"),
            ({"class_names": ["a", "b", "a", "c"]}, r"\['a'\] more than once"),
            ({"positive_class": "a"}, "is for two classes, and the model has 4"),
        ],
    )
    def test_names_that_do_not_fit_are_refused_before_anything_is_measured(
        self, subject: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            self.measured(**subject)
