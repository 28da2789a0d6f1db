"""Comparisons of made-up records whose differences are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from adsr_hf.decision.arms import read_arm
from adsr_hf.decision.compare import Comparison, compare, in_words
from adsr_hf.decision.deltas import higher_is_better
from adsr_hf.evaluation.records import RecordsError, read_evaluation
from adsr_hf.evaluation.vectors import figure_vector
from tests.evaluation.fake_records import write_fake_evaluation, write_fake_run

BETTER = {"Linf 4/255": 0.75, "Linf 8/255": 0.6}


def compared(first: list[Path], second: list[Path]) -> Comparison:
    return compare(read_arm([str(one) for one in first]), read_arm([str(one) for one in second]), latency=False)


def test_a_known_gain_is_found_and_equal_figures_are_not(tmp_path: Path) -> None:
    a = write_fake_run(tmp_path / "a", robust=BETTER, images=600, train_seed=1)
    b = write_fake_run(tmp_path / "b", images=600, train_seed=2)
    comparison = compared([a], [b])
    robust, clean = comparison.delta("Linf 8/255/robust_accuracy"), comparison.delta("accuracy")
    assert robust is not None
    assert clean is not None
    assert robust.delta == pytest.approx(0.2)
    assert robust.verdict == "better"
    assert clean.delta == pytest.approx(0)
    assert clean.verdict == "no evidence"
    other = compared([b], [a]).delta("Linf 8/255/robust_accuracy")
    assert other is not None
    assert other.verdict == "worse"
    assert "+20.0 points" in in_words(robust)


def test_mcnemar_is_exact_on_the_discordant_images(tmp_path: Path) -> None:
    a, b = (write_fake_evaluation(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 2)))
    first, second = (figure_vector(read_evaluation(one), "accuracy") for one in (a, b))
    assert first is not None
    assert second is not None
    only = int((first > second).sum()), int((second > first).sum())
    delta = compared([a], [b]).delta("accuracy")
    assert delta is not None
    assert delta.test == "exact McNemar"
    assert delta.p_value == pytest.approx(stats.binomtest(only[0], sum(only), 0.5).pvalue)


def test_the_family_is_corrected_by_holm(tmp_path: Path) -> None:
    a = write_fake_evaluation(tmp_path / "a", robust=BETTER, seed=1)
    comparison = compared([a], [write_fake_evaluation(tmp_path / "b", seed=2)])
    tested = [one for one in comparison.deltas if one.p_value is not None]
    order = np.argsort([one.p_value for one in tested], kind="stable")
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(tested) - rank) * (tested[index].p_value or 0)))
        assert tested[index].adjusted_p_value == pytest.approx(running)


def test_many_figures_leave_a_miscalibration_findable(tmp_path: Path) -> None:
    # 33 tests: 2 / 1001, the least p-value of a thousand resamples, would become 0.066.
    threats = {f"Linf {radius}/255": 0.3 for radius in range(1, 14)}
    settings: dict[str, Any] = {"robust": threats, "images": 150, "attacks": ["pgd"], "noise_accuracy": None}
    calibrated = write_fake_run(tmp_path / "a", accuracy=0.9, train_seed=1, **settings)
    sharp = write_fake_run(tmp_path / "b", accuracy=0.5, sharpness=30, train_seed=2, **settings)
    comparison = compared([sharp], [calibrated])
    assert sum(one.p_value is not None for one in comparison.deltas) >= 26
    error = comparison.delta("ece")
    assert error is not None
    assert error.verdict == "worse"


def test_errors_are_better_when_they_fall() -> None:
    lower = [
        name
        for name in ("ece", "Linf 8/255/robust_ece", "noise/flip_rate", "brier_score")
        if not higher_is_better(name)
    ]
    assert len(lower) == 4
    assert all(higher_is_better(name) for name in ("accuracy", "noise/accuracy", "noise/output_stability"))


def test_a_model_against_itself_differs_in_nothing(tmp_path: Path) -> None:
    a = write_fake_run(tmp_path / "a")
    for delta in compared([a], [a]).deltas:
        assert delta.delta == 0
        assert delta.verdict == "no evidence"
        # Resamples of the images are the same for both sides.
        assert delta.interval == (0, 0)


def test_several_seeds_widen_the_interval_by_their_spread(tmp_path: Path) -> None:
    def arm(name: str, shares: list[float]) -> list[Path]:
        return [
            write_fake_run(
                tmp_path / f"{name}{n}", robust={"Linf 8/255": share}, images=400, train_seed=10 * n + len(name)
            )
            for n, share in enumerate(shares)
        ]

    steady, current = arm("a", [0.60, 0.60, 0.60]), arm("bb", [0.50, 0.50, 0.50])
    unsteady = arm("ccc", [0.45, 0.60, 0.75])
    sure, unsure = (compared(one, current).delta("Linf 8/255/robust_accuracy") for one in (steady, unsteady))
    assert sure is not None
    assert unsure is not None
    assert sure.delta == pytest.approx(unsure.delta) == pytest.approx(0.1)
    assert sure.verdict == "better"
    assert unsure.interval[1] - unsure.interval[0] > 1.5 * (sure.interval[1] - sure.interval[0])
    assert unsure.spread[0] == pytest.approx(0.15)
    assert sure.test.startswith("sign flips")


def test_run_figures_have_the_range_over_pairs(tmp_path: Path) -> None:
    a = [write_fake_run(tmp_path / f"a{n}", throughput=t, train_seed=n) for n, t in enumerate((100.0, 120.0))]
    b = [write_fake_run(tmp_path / f"b{n}", throughput=t, train_seed=5 + n) for n, t in enumerate((90.0, 95.0))]
    delta = compared(a, b).delta("training_images_per_second")
    assert delta is not None
    assert delta.delta == pytest.approx(17.5)
    assert delta.interval == (5.0, 30.0)
    assert delta.verdict == "no evidence"


def test_what_one_side_did_not_measure_is_listed(tmp_path: Path) -> None:
    a = write_fake_evaluation(tmp_path / "a", noise_accuracy=None, seed=1)
    comparison = compared([a], [write_fake_evaluation(tmp_path / "b", temperature=None, seed=2)])
    assert comparison.delta("noise/accuracy") is None
    assert comparison.not_compared["noise/accuracy"] == "not measured for both models"
    assert comparison.not_compared["ece_after_temperature"] == "not measured for both models"
    assert "no run.json" in comparison.not_compared["best_to_last_gap"]
    assert comparison.not_compared["latency_ratio"] == "not asked for"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"data_seed": 7}, "test images"),
        ({"images": 100}, "number of images"),
        ({"robust": {"Linf 8/255": 0.4}}, "threats"),
        ({"num_steps": 50}, "attacks"),
        ({"class_names": ["a", "b", "c", "d"]}, "class names"),
        ({"changes": {"data.split": "validation"}}, "split"),
    ],
)
def test_other_conditions_are_refused_by_name(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    a = write_fake_evaluation(tmp_path / "a", seed=1)
    b = write_fake_evaluation(tmp_path / "b", seed=2, **changes)  # type: ignore[arg-type]
    with pytest.raises(RecordsError, match=what) as caught:
        compared([a], [b])
    assert str(a) in str(caught.value)
    assert str(b) in str(caught.value)


def test_other_noise_is_refused_and_a_run_is_one_seed(tmp_path: Path) -> None:
    a = write_fake_evaluation(tmp_path / "a", seed=1, noise_kinds=["jpeg"])
    b = write_fake_evaluation(tmp_path / "b", seed=2, noise_kinds=["contrast"])
    with pytest.raises(RecordsError, match="kinds of noise differ"):
        compared([a], [b])
    with pytest.raises(RecordsError, match="named twice"):
        compared([a, a], [b])


def test_a_model_that_changed_since_it_was_measured_is_refused(tmp_path: Path) -> None:
    a = write_fake_run(tmp_path / "a")
    (a / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(RecordsError, match="is not the one that was measured"):
        compared([a], [a])


def test_error_rates_of_different_classes_are_not_compared(tmp_path: Path) -> None:
    """What one run calls missed, the other calls a false alarm."""
    names = ["good", "defective"]
    a, b, c = (
        write_fake_run(tmp_path / name, num_classes=2, class_names=names, train_seed=seed, positive_class=positive)
        for seed, (name, positive) in enumerate([("a", "good"), ("b", "defective"), ("c", None)])
    )
    with pytest.raises(RecordsError, match="their positive class differ: good against defective"):
        compared([a], [b])
    assert compared([a], [c]).delta("missed_rate") is None
