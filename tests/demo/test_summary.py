"""The demo's arithmetic and words, on results written by hand."""

import json
import re
from pathlib import Path
from typing import Any

from adsr_hf.demo.settings import ARMS, EPSILON, EVALUATED_EPSILONS
from adsr_hf.demo.summary import curve, differences, table, training_curve
from adsr_hf.records.text_tables import as_markdown, as_text, mean_and_spread
from tests.evaluation.fake_records import write_fake_run


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


def with_records(folder: Path, arm: str, seed: int, **settings: Any) -> dict[str, Any]:
    """A cell's result beside made-up records of 400 images."""
    settings = {"attacks": ["pgd"], "noise_accuracy": None, "images": 400} | settings
    run = write_fake_run(folder / f"{arm}{seed}", train_seed=seed + 10 * (arm == "adsr"), **settings)
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    return result(arm, seed, 0.9, 0.5) | {"folder": str(run), "summary": summary}


def words_for(folder: Path, shares: list[float], **settings: Any) -> dict[str, str]:
    """What is said of ADSR with these robust accuracies against adversarial training with 0.5, seed by seed."""
    threats = [f"Linf {epsilon}" for epsilon in EVALUATED_EPSILONS]
    results = []
    for seed, share in enumerate(shares):
        results.append(with_records(folder, "pgd_at", seed, robust=dict.fromkeys(threats, 0.5)))
        results.append(with_records(folder, "adsr", seed, robust=dict.fromkeys(threats, share), **settings))
    return dict(line.split(": ", 1) for line in differences(results, "adsr", "pgd_at"))


def test_words_follow_direction_and_evidence(tmp_path: Path) -> None:
    words = words_for(tmp_path / "gain", [0.65, 0.65, 0.65])
    assert re.fullmatch(r"\+15\.0 points \[\+\d.*\], better", words["robust accuracy"])
    assert words["accuracy"].startswith("+0.0 points [")
    assert words["accuracy"].endswith("no clear difference")
    assert words["best minus last robust"].endswith("not tested")
    worse = words_for(tmp_path / "loss", [0.5, 0.5, 0.5], accuracy=0.6, sharpness=30.0)
    assert worse["ECE"].endswith("worse")
    assert worse["accuracy"].endswith("worse")


def test_three_seeds_that_agree_by_more_than_they_scatter_are_no_evidence_by_themselves(tmp_path: Path) -> None:
    """The rule that was here before: each seed gains, and the mean gain is three times their spread."""
    assert words_for(tmp_path, [0.51, 0.52, 0.53])["robust accuracy"].endswith("no clear difference")


def test_curves_keep_every_seed_and_average_logged_figures() -> None:
    radii, accuracies = curve(RESULTS, "pgd_at")
    assert radii == [0.0, *EVALUATED_EPSILONS]
    assert accuracies[0] == [0.9, 0.91, 0.92]
    assert accuracies[radii.index(EPSILON)] == [0.5, 0.52, 0.54]
    assert training_curve(RESULTS, "adsr", "temperature") == ([10, 20], [3.0, 1.0])
    assert training_curve(RESULTS, "adsr", "missing") == ([], [])
