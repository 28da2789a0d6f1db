"""Comparisons of made-up records whose differences are known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from scipy import stats

from adsr_hf.cli.compare import as_text
from adsr_hf.decision.arms import Arm, read_arm
from adsr_hf.decision.compare import Comparison, compare, in_words
from adsr_hf.decision.deltas import higher_is_better
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.vectors import figure_vector
from adsr_hf.records.sentences import sentence, worded
from adsr_hf.settings.errors import RecordsError
from tests.evaluation.fake_records import write_fake_evaluation, write_fake_run

RATES = ("missed_rate", "false_alarm_rate", "robust_missed_rate", "robust_false_alarm_rate")
BETTER = {"Linf 4/255": 0.75, "Linf 8/255": 0.6}


def compared(first: list[Path], second: list[Path]) -> Comparison:
    return compare(read_arm([str(one) for one in first]), read_arm([str(one) for one in second]), latency=False)


def with_predictions(arm: Arm, predictions: dict[str, np.ndarray]) -> Arm:
    """The arm of one run, with other predicted classes under the conditions named."""
    [member] = arm.members
    table = member.records.table
    for condition, values in predictions.items():
        name = f"{condition}.prediction"
        table = table.set_column(table.column_names.index(name), name, pyarrow.array(values))
    records = EvaluationRecords(member.records.summary, table)
    return Arm(arm.name, (replace(member, records=records),))


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


def test_each_family_is_corrected_by_holm(tmp_path: Path) -> None:
    """Averages, classes and error rates each by themselves: a class more costs the average nothing."""
    settings: dict[str, Any] = {"num_classes": 2, "class_names": ["good", "bad"], "positive_class": "bad"}
    a = write_fake_evaluation(tmp_path / "a", robust=BETTER, seed=1, **settings)
    comparison = compared([a], [write_fake_evaluation(tmp_path / "b", seed=2, **settings)])
    tested = [one for one in comparison.deltas if one.p_value is not None]
    families = [
        [one for one in tested if "class_" in one.name],
        [one for one in tested if one.name.endswith("_rate") and "flip" not in one.name],
        [one for one in tested if "class_" not in one.name and one.name.rpartition("/")[2] not in RATES],
    ]
    assert [len(family) for family in families[:2]] == [6, 6]
    assert sum(map(len, families)) == len(tested)
    for family in families:
        order = np.argsort([one.p_value for one in family], kind="stable")
        running = 0.0
        for rank, index in enumerate(order):
            running = max(running, min(1.0, (len(family) - rank) * (family[index].p_value or 0)))
            assert family[index].adjusted_p_value == pytest.approx(running)


def test_a_class_that_loses_is_told_though_the_average_gains(tmp_path: Path) -> None:
    """Under attack the candidate has all of the good right, and fewer of the bad."""
    settings: dict[str, Any] = {"num_classes": 2, "class_names": ["good", "bad"], "positive_class": "bad"}
    settings |= {"images": 1600, "robust": {"Linf 8/255": 0.6}, "attacks": ["pgd"], "noise_accuracy": None}
    a, b = (read_arm([str(write_fake_evaluation(tmp_path / name, **settings))]) for name in "ab")
    labels = a.members[0].records.labels
    stood = a.members[0].records.column("Linf 8/255.worst.prediction") == labels
    kept = np.where(labels == 1, stood & (np.random.default_rng(0).random(1600) < 0.7), True)
    predicted = {"clean": labels, "Linf 8/255.worst": np.where(kept, labels, 1 - labels)}
    comparison = compare(with_predictions(a, predicted), b, latency=False)
    verdicts = {one.name: one.verdict for one in comparison.deltas}
    assert verdicts["Linf 8/255/robust_accuracy"] == "better"
    assert verdicts["Linf 8/255/class_robust_accuracy/good"] == "better"
    assert verdicts["Linf 8/255/class_robust_accuracy/bad"] == "worse"
    # The rates of errors say the same, the other way round.
    assert verdicts["Linf 8/255/robust_missed_rate"] == "worse"
    assert verdicts["Linf 8/255/robust_false_alarm_rate"] == "better"
    missed = comparison.delta("Linf 8/255/robust_missed_rate")
    accuracy = comparison.delta("Linf 8/255/class_robust_accuracy/bad")
    assert missed is not None
    assert accuracy is not None
    assert missed.delta == pytest.approx(-accuracy.delta)
    assert accuracy.images == (labels == 1).sum()


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
    deltas = compared([a], [a]).deltas
    for delta in deltas:
        assert delta.delta == 0
        assert delta.verdict == "no evidence"
        assert delta.interval[0] <= 0 <= delta.interval[1]
    # Two hundred images cannot exclude that the models differ on others.
    accuracy = next(one for one in deltas if one.name == "accuracy")
    assert accuracy.interval[1] == pytest.approx(1.96**2 / (200 + 1.96**2), abs=1e-4)


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
    assert unsure.verdict == "no evidence"
    assert unsure.spread[0] == pytest.approx(0.15)
    # The unsteady side's own quantile, of two degrees of freedom, on its spread over the root of three.
    half = (unsure.interval[1] - unsure.interval[0]) / 2
    assert half == pytest.approx(stats.t.isf(0.025, 2) * 0.15 / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("seeds", "scope", "words"),
    [
        ((1, 1), "these runs", "these two runs only, not for other seeds"),
        ((2, 1), "other runs of the candidate", "other seeds of the candidate, against this one run"),
        ((1, 2), "other runs of the current model", "other seeds of the current model, of this one run"),
        ((2, 2), "other runs", "other images and other seeds."),
    ],
)
def test_it_is_said_for_which_seeds_it_holds(tmp_path: Path, seeds: tuple[int, int], scope: str, words: str) -> None:
    arms = [
        [write_fake_run(tmp_path / f"{side}{n}", images=60, train_seed=10 * side + n) for n in range(number)]
        for side, number in enumerate(seeds)
    ]
    comparison = compared(*arms)
    assert {delta.scope for delta in comparison.deltas} == {scope} == {comparison.scope}
    assert words in as_text(comparison)


def test_one_run_against_several_carries_the_seeds_of_the_several(tmp_path: Path) -> None:
    shares = [0.45, 0.60, 0.75]
    several = [
        write_fake_run(tmp_path / f"a{n}", robust={"Linf 8/255": share}, images=400, train_seed=n)
        for n, share in enumerate(shares)
    ]
    one = write_fake_run(tmp_path / "b", robust={"Linf 8/255": 0.5}, images=400, train_seed=9)
    alone = compared([several[1]], [one]).delta("Linf 8/255/robust_accuracy")
    found = compared(several, [one]).delta("Linf 8/255/robust_accuracy")
    assert alone is not None
    assert found is not None
    assert alone.verdict == "better"
    assert found.delta == pytest.approx(alone.delta)
    assert found.verdict == "no evidence"
    assert found.run_variances[1] is None


def test_what_the_most_frequent_class_would_reach_is_printed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"num_classes": 2, "images": 300, "attacks": ["pgd"], "noise_accuracy": None}
    a = write_fake_run(tmp_path / "a", accuracy=0.9, robust={"Linf 8/255": 0.5}, train_seed=1, **settings)
    b = write_fake_run(tmp_path / "b", accuracy=0.9, robust={"Linf 8/255": 0.8}, train_seed=2, **settings)
    comparison = compared([a], [b])
    assert comparison.not_beaten == {"candidate": ["Linf 8/255"], "current": []}
    assert 0.5 <= comparison.majority_share < 0.6
    text = as_text(comparison)
    share = f"{100 * comparison.majority_share:.1f}"
    assert f"always '{comparison.majority_class}': {share}" in text
    assert f"under Linf 8/255 the accuracy of the candidate model is not shown to be above {share}%" in text
    assert "the current model's accuracy" not in text


def test_a_calibration_error_is_shown_beside_the_level_of_calibrated_models(tmp_path: Path) -> None:
    a = write_fake_run(tmp_path / "a", train_seed=1)
    delta = compared([a], [write_fake_run(tmp_path / "b", train_seed=2)]).delta("ece")
    assert delta is not None
    assert delta.calibrated_levels is not None
    figure = read_evaluation(a).summary["figures"]["ece"]
    assert delta.candidate == pytest.approx(figure["value"])
    assert delta.calibrated_levels[0] == pytest.approx(figure["calibrated_level"])
    assert f"(calibrated models: {100 * delta.calibrated_levels[0]:.1f} and " in in_words(delta)


def test_run_figures_have_an_interval_over_runs(tmp_path: Path) -> None:
    a = [write_fake_run(tmp_path / f"a{n}", throughput=t, train_seed=n) for n, t in enumerate((100.0, 120.0))]
    b = [write_fake_run(tmp_path / f"b{n}", throughput=t, train_seed=5 + n) for n, t in enumerate((90.0, 95.0))]
    delta = compared(a, b).delta("training_images_per_second")
    assert delta is not None
    assert delta.delta == pytest.approx(17.5)
    # By hand: t of one degree of freedom, on the variances 200 and 12.5 of two runs each.
    half = 12.7062 * (200 / 2 + 12.5 / 2) ** 0.5
    assert delta.interval == pytest.approx((17.5 - half, 17.5 + half), rel=1e-4)
    assert delta.p_value is None
    assert delta.verdict == "no evidence"


def test_what_one_side_did_not_measure_is_listed(tmp_path: Path) -> None:
    a = write_fake_evaluation(tmp_path / "a", noise_accuracy=None, seed=1)
    comparison = compared([a], [write_fake_evaluation(tmp_path / "b", temperature=None, seed=2)])
    assert comparison.delta("noise/accuracy") is None
    assert comparison.not_compared["noise/accuracy"] == sentence("not_compared.not_measured")
    assert comparison.not_compared["ece_after_temperature"] == sentence("not_compared.not_measured")
    assert "no run.json" in worded(comparison.not_compared["best_to_last_gap"])
    assert worded(comparison.not_compared["latency_ratio"]) == "not asked for"


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
    stronger = write_fake_evaluation(
        tmp_path / "c", seed=2, noise_kinds=["jpeg"], changes={"noise_severities": "ImageNet-C"}
    )
    with pytest.raises(RecordsError, match="severities of noise differ: CIFAR-10-C against ImageNet-C"):
        compared([a], [stronger])
    with pytest.raises(RecordsError, match="named twice"):
        compared([a, a], [b])


def test_one_model_is_not_two_seeds_nor_a_teacher_another_seed_of_a_student(tmp_path: Path) -> None:
    """Under other paths, too: as a run and its evaluation's folder, and measured once more."""
    run, other = (write_fake_run(tmp_path / name, train_seed=seed) for seed, name in enumerate(("run", "other")))
    again = write_fake_evaluation(tmp_path / "again", seed=0)
    for twice in (run / "evaluation", again):
        with pytest.raises(RecordsError, match=r"measured the same weights .* a run counts as one seed"):
            compared([run, twice], [other])
        with pytest.raises(RecordsError, match="measured the same weights"):
            compared([other, run, twice], [other])
    teacher = write_fake_evaluation(tmp_path / "teacher", seed=2, weights="teacher", published=False)
    with pytest.raises(RecordsError, match=r"weights of the student and .* of the teacher; runs of one arm differ"):
        compared([run, teacher], [other])


def test_a_missed_rate_of_the_other_class_is_refused(tmp_path: Path) -> None:
    names = ["good", "defective"]
    a, b = (
        write_fake_evaluation(tmp_path / name, num_classes=2, class_names=names, seed=seed, positive_class=name)
        for seed, name in enumerate(names)
    )
    with pytest.raises(RecordsError, match="positive class differ: good against defective"):
        compared([a], [b])


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


def test_a_note_that_an_earlier_version_worded_hinders_no_comparison(tmp_path: Path) -> None:
    notes = {"new": sentence("note.fewer_targets", targets=3), "old": "3 targets instead of 9"}
    arms = []
    for seed, (name, note) in enumerate(notes.items()):
        attacks = [{"name": "pgd", "note": note}, {"name": "square"}]
        arms.append(read_arm([str(write_fake_run(tmp_path / name, seed=seed, changes={"attacks": attacks}))]))
    assert compare(*arms, latency=False).delta("accuracy") is not None
