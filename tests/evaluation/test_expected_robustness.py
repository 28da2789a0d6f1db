"""Accuracy averaged over radii from 0 to the largest one measured, image by image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsr_hf.attacks import ThreatModel
from adsr_hf.cli.evaluation_text import evaluation_text
from adsr_hf.decision.arms import read_arm
from adsr_hf.decision.compare import compare
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import SUMMARY_FILE
from adsr_hf.evaluation.vectors import expected_robustness, figure_vector
from adsr_hf.measures.statistics import bootstrap_interval, resampling_weights
from tests.evaluation.fake_records import write_fake_evaluation

NAME = "Linf/expected_robustness"


class Outcomes:
    """As much of the records of an evaluation as a figure asks for: right or wrong at each radius."""

    def __init__(self, clean: Any, **right: Any) -> None:
        self.threats = [name.replace("_", " ").replace("p", ".") for name in right]
        self.labels = np.zeros(len(clean), dtype=np.int64)
        self._columns = {"clean.prediction": clean} | {
            f"{threat}.worst.prediction": found for threat, found in zip(self.threats, right.values(), strict=True)
        }

    def column(self, name: str) -> np.ndarray:
        return 1 - np.array(self._columns[name], dtype=np.int64)


def expected(clean: Any, **right: Any) -> Any:
    outcomes: Any = Outcomes(clean, **right)
    return expected_robustness(outcomes, "Linf")


def test_by_hand() -> None:
    """Radii 0, 0.1 and 0.4: right everywhere, fallen at 0.4, fallen at 0.1, wrong when clean."""
    found = expected([1, 1, 1, 0], Linf_0p1=[1, 1, 0, 0], Linf_0p4=[1, 0, 0, 0])
    # (0.1 · 1 + 0.3 · ½) / 0.4 and (0.1 · ½) / 0.4.
    np.testing.assert_allclose(found, [1, 0.625, 0.125, 0])


def test_what_fell_at_a_smaller_radius_has_fallen_at_every_larger_one() -> None:
    assert expected([1], Linf_0p1=[0], Linf_0p2=[1])[0] == expected([1], Linf_0p1=[0], Linf_0p2=[0])[0] == 0.25


def test_the_order_of_the_threats_and_other_norms_do_not_matter() -> None:
    ordered = expected([1, 1], Linf_0p1=[1, 0], Linf_0p2=[1, 0])
    mixed = expected([1, 1], L2_9=[0, 0], Linf_0p2=[1, 0], Linf_0p1=[1, 0])
    np.testing.assert_array_equal(ordered, mixed)


def test_one_radius_is_no_average() -> None:
    assert expected([1], Linf_0p1=[1]) is None
    assert expected([1], Linf_0p1=[1], L2_1=[1], Linf_0=[1]) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=30))
def test_it_lies_between_what_stands_everywhere_and_clean_accuracy(rows: list[list[bool]]) -> None:
    clean, small, large = (np.array(column, dtype=int) for column in zip(*rows, strict=True))
    found = expected(clean, Linf_0p1=small, Linf_0p3=large)
    assert (clean & small & large).mean() <= found.mean() <= clean.mean()
    untouched = expected(clean, Linf_0p1=clean, Linf_0p3=clean)
    np.testing.assert_array_equal(untouched, clean)


def test_records_hold_it_where_there_are_two_radii_and_older_ones_may_lack_it(tmp_path: Path) -> None:
    folder = write_fake_evaluation(tmp_path / "two")
    records = read_evaluation(folder)
    vector = figure_vector(records, NAME)
    assert vector is not None
    entry = records.summary["figures"][NAME]
    assert entry["value"] == pytest.approx(vector.mean())
    weights = resampling_weights(records.images, seed=records.summary["seed"])
    assert entry["interval"] == pytest.approx(bootstrap_interval(vector, weights))
    assert "expected, Linf" in evaluation_text(records)
    one = read_evaluation(write_fake_evaluation(tmp_path / "one", robust={"Linf 4/255": 0.5}))
    assert NAME not in one.summary["figures"]
    assert "expected" not in evaluation_text(one)

    summary = json.loads((folder / SUMMARY_FILE).read_text())
    del summary["figures"][NAME]
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))
    assert NAME not in read_evaluation(folder).summary["figures"]


def test_two_models_are_compared_by_it_image_by_image(tmp_path: Path) -> None:
    better = {"Linf 4/255": 0.8, "Linf 8/255": 0.75}
    new = read_arm([str(write_fake_evaluation(tmp_path / "new", robust=better, seed=1, images=500))])
    old = read_arm([str(write_fake_evaluation(tmp_path / "old", images=500))])
    comparison = compare(new, old, latency=False)
    delta = comparison.delta(NAME)
    assert delta is not None
    assert delta.verdict == "better"
    vectors = [figure_vector(arm.members[0].records, NAME) for arm in (new, old)]
    assert vectors[0] is not None
    assert vectors[1] is not None
    assert delta.delta == pytest.approx((vectors[0] - vectors[1]).mean())
    # Equal spacing: a quarter of clean, half of the first radius, a quarter of the second.
    accuracy, small, large = 0.9, better["Linf 4/255"], better["Linf 8/255"]
    assert delta.candidate == pytest.approx(accuracy / 4 + small / 2 + large / 4, abs=0.01)
    assert ThreatModel.parse("Linf 8/255").epsilon == pytest.approx(2 * ThreatModel.parse("Linf 4/255").epsilon)


@pytest.mark.slow
def test_its_interval_covers_the_truth() -> None:
    """Accuracies 0.8, 0.6 and 0.4 at radii 0, 1 and 2: 400 draws of 276 images; 95% but for 3 standard errors."""
    generator = np.random.default_rng(0)
    truth, covered, draws = 0.8 / 4 + 0.6 / 2 + 0.4 / 4, 0, 400
    for draw in range(draws):
        strength = generator.random(276)
        vector = expected(strength < 0.8, Linf_0p1=strength < 0.6, Linf_0p2=strength < 0.4)
        low, high = bootstrap_interval(vector, resampling_weights(276, seed=draw))
        covered += low <= truth <= high
    assert covered / draws > 0.95 - 3 * (0.95 * 0.05 / draws) ** 0.5
