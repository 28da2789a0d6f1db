"""The demo's arithmetic and words, on results written by hand."""

from typing import Any

import pytest

from adsr_hf.demo.settings import ARMS, EPSILON, EVALUATED_EPSILONS
from adsr_hf.demo.summary import curve, differences, table, training_curve
from adsr_hf.tables import as_markdown, as_text, mean_and_spread


def result(arm: str, seed: int, accuracy: float, robust: float, ece: float = 0.1) -> dict[str, Any]:
    values = {"accuracy": accuracy, "ece": ece, "ece_after_temperature": 0.01}
    for epsilon in EVALUATED_EPSILONS:
        values[f"Linf {epsilon}/robust_accuracy"] = robust if epsilon == EPSILON else 0.9 - epsilon
        values[f"Linf {epsilon}/robust_ece"] = 0.2
    return {
        "arm": arm,
        "seed": seed,
        "summary": {"data": {"images": 100}, "figures": {name: {"value": value} for name, value in values.items()}},
        "robust_overfitting": {"student": {"gap": 0.03}},
        "train_seconds": 10.0,
        "log_history": [{"step": 10, "temperature": 2.0 + seed}, {"step": 20, "temperature": 1.0}, {"step": 20}],
    }


RESULTS = [
    result(arm, seed, 0.9 + 0.01 * seed, robust + 0.02 * seed)
    for arm, robust in zip(ARMS, (0.1, 0.5, 0.6), strict=True)
    for seed in range(3)
]


def test_mean_and_spread_by_hand() -> None:
    assert mean_and_spread([0.50, 0.52, 0.54]) == "52.0 ± 2.0"
    assert mean_and_spread([0.5]) == "50.0 ± 0.0"


def test_table_has_an_arm_a_row() -> None:
    rows = table(RESULTS)
    assert [row[0] for row in rows] == ["trained by", "clean training", "adversarial training", "ADSR"]
    assert rows[3][2] == "62.0 ± 2.0"
    assert as_markdown(rows).splitlines()[1] == "|" + "---|" * len(rows[0])
    lines = as_text(rows).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_words_follow_direction_and_spread() -> None:
    words = dict(line.split(": ", 1) for line in differences(RESULTS, "adsr", "pgd_at"))
    assert words["robust accuracy"] == "+10.0 ± 0.0 points, better"
    assert words["accuracy"] == "+0.0 ± 0.0 points, no clear difference"
    worse = [result("adsr", seed, 0.9, 0.5, ece=0.3) for seed in range(3)]
    words = dict(line.split(": ", 1) for line in differences([*RESULTS[:6], *worse], "adsr", "pgd_at"))
    assert words["ECE"] == "+20.0 ± 0.0 points, worse"


@pytest.mark.parametrize("changes", [(0.02, -0.01, 0.03), (0.001, 0.05, 0.3)])
def test_seeds_that_disagree_or_scatter_are_no_clear_difference(changes: tuple[float, ...]) -> None:
    moved = [result("adsr", seed, 0.9, 0.5 + 0.02 * seed + change) for seed, change in enumerate(changes)]
    words = dict(line.split(": ", 1) for line in differences([*RESULTS[3:6], *moved], "adsr", "pgd_at"))
    assert words["robust accuracy"].endswith("no clear difference")


def test_curves_keep_every_seed_and_average_logged_figures() -> None:
    radii, accuracies = curve(RESULTS, "pgd_at")
    assert radii == [0.0, *EVALUATED_EPSILONS]
    assert accuracies[0] == [0.9, 0.91, 0.92]
    assert accuracies[radii.index(EPSILON)] == [0.5, 0.52, 0.54]
    assert training_curve(RESULTS, "adsr", "temperature") == ([10, 20], [3.0, 1.0])
    assert training_curve(RESULTS, "adsr", "missing") == ([], [])
