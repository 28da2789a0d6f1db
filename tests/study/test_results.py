"""The table's figures, against the same worked out by pandas and numpy from the files alone."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t

from adsr_hf.records.sentences import worded
from adsr_hf.study.cells import begin, finish
from adsr_hf.study.description import Study, read_study
from adsr_hf.study.results import study_record
from adsr_hf.study.tables import as_csv, as_document, as_terminal, differences, table
from tests.evaluation.fake_records import write_fake_run
from tests.report.reading import change_run, change_summary
from tests.study.files import fake_study, finish_with_fakes, write_study

SEEDS = [0, 1, 2]
RESULTS = {
    "AT": {"accuracy": 0.8, "robust": {"Linf 0.1": 0.4}, "gap": 0.06, "noise_accuracy": None, "images": 150},
    "ADSR": {"accuracy": 0.82, "robust": {"Linf 0.1": 0.6}, "gap": 0.01, "noise_accuracy": None, "images": 150},
    "bad": {"accuracy": 0.5, "robust": {"Linf 0.1": 0.35}, "noise_accuracy": None, "images": 150},
}
CHANGES: dict[str, Any] = {"arms": {"AT": {}, "ADSR": {}, "bad": {}}, "seeds": SEEDS, "baseline": "AT"}


def log_speed(study: Study) -> None:
    """Give every run another speed, logged at each step but the evaluations'."""
    for number, cell in enumerate(study.cells):
        history = json.loads((cell.folder / "run.json").read_text())["log_history"]
        for entry in history:
            if "loss" in entry:
                entry["images_per_second"] = 100.0 * number + entry["step"]
        change_run(cell.folder, log_history=history)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = fake_study(tmp_path_factory.mktemp("study"), RESULTS, plan="Decided first.", **CHANGES)
    log_speed(study)
    return study


@pytest.fixture(scope="module")
def record(study: Study) -> dict[str, Any]:
    # Through JSON, as it is read back.
    return json.loads(json.dumps(study_record(study)))


@pytest.fixture(scope="module")
def frames(study: Study) -> dict[tuple[str, int], pd.DataFrame]:
    return {
        (cell.arm, cell.seed): pd.read_parquet(cell.folder / "evaluation" / "records.parquet") for cell in study.cells
    }


def expected_calibration_error(logits: pd.Series, labels: pd.Series, temperature: float = 1.0) -> float:
    values = np.exp(np.stack(logits.to_list()).astype(np.float64) / temperature)
    probabilities = values / values.sum(1, keepdims=True)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels.to_numpy()
    bins = np.clip(np.ceil(confidence * 15) - 1, 0, 14)
    return sum(abs((confidence - right)[bins == one].sum()) for one in range(15)) / len(labels)


def figures_of(frame: pd.DataFrame, run: dict[str, Any]) -> dict[str, float]:
    """One cell's figures, by other means."""
    right = frame["clean.prediction"] == frame["label"]
    worst = right & (frame["Linf 0.1.worst.prediction"] == frame["label"])
    history = pd.DataFrame(run["log_history"])
    curve = history["eval_robust_accuracy"].dropna()
    return {
        "accuracy": right.mean(),
        "Linf 0.1/pgd/robust_accuracy": (~frame["Linf 0.1.broken_by"].isin(["clean", "pgd"])).mean(),
        "Linf 0.1/robust_accuracy": worst.mean(),
        "ece": expected_calibration_error(frame["clean.logits"], frame["label"]),
        "Linf 0.1/robust_ece": expected_calibration_error(frame["Linf 0.1.worst.logits"], frame["label"]),
        "ece_after_temperature": expected_calibration_error(frame["clean.logits"], frame["label"], 1.3),
        "best_robust_accuracy": curve.max(),
        "last_robust_accuracy": curve.iloc[-1],
        "best_to_last_gap": curve.max() - curve.iloc[-1],
        "images_per_second": history["images_per_second"].median(),
    }


def test_every_figure_of_the_table_is_what_the_records_say(
    study: Study, record: dict[str, Any], frames: dict[tuple[str, int], pd.DataFrame]
) -> None:
    cells = pd.DataFrame(
        {
            "arm": cell.arm,
            **figures_of(frames[cell.arm, cell.seed], json.loads((cell.folder / "run.json").read_text())),
        }
        for cell in study.cells
    )
    expected = cells.groupby("arm", sort=False).agg(["mean", "std"])
    found = pd.read_csv(io.StringIO(as_csv(record))).set_index("arm")
    assert list(found.index) == ["AT", "ADSR", "bad"]
    assert found["seeds"].tolist() == ["0 1 2"] * 3
    for name in cells.columns.drop("arm"):
        for column, statistic in (("mean", "mean"), ("spread", "std")):
            wanted = expected[name][statistic][found.index]
            np.testing.assert_allclose(found[f"{name} {column}"], wanted, atol=1e-6, err_msg=name)
    head, *rows = table(record["variants"][0])
    assert head[2:5] == ["clean accuracy", "robust, PGD-20", "robust, worst of all"]
    for row in rows:
        mean, spread = (100 * expected["Linf 0.1/robust_accuracy"][what][row[0]] for what in ("mean", "std"))
        assert row[4].split(" ▲")[0].split(" ▼")[0] == f"{mean:.1f} ± {spread:.1f}"


def right_by_image(frames: dict[tuple[str, int], pd.DataFrame], arm: str, seeds: list[int]) -> np.ndarray:
    """(seeds, images): right clean and under attack."""
    own = [frames[arm, seed] for seed in seeds]
    return np.stack(
        [(one["clean.prediction"] == one["label"]) & (one["Linf 0.1.worst.prediction"] == one["label"]) for one in own]
    ).astype(float)


def holm(p_values: list[float]) -> list[float]:
    """Step down: the k-th smallest times how many are left, never below the one before."""
    frame = pd.DataFrame({"p": p_values}).sort_values("p", kind="stable")
    frame["adjusted"] = (frame["p"] * np.arange(len(frame), 0, -1)).cummax().clip(upper=1)
    return frame["adjusted"].sort_index().tolist()


def test_tests_carry_images_and_seeds_and_are_corrected_in_two_families(
    record: dict[str, Any], frames: dict[tuple[str, int], pd.DataFrame]
) -> None:
    rows = record["variants"][0]["rows"]
    tests = [item for row in rows for item in row["against_baseline"].items()]
    assert rows[0]["against_baseline"] == {}
    of_classes = [entry for name, entry in tests if "class_" in name]
    averages = [entry for name, entry in tests if "class_" not in name]
    assert len(averages) == 2 * 6
    assert len(of_classes) == 2 * 4
    for family in (averages, of_classes):
        np.testing.assert_allclose(
            [entry["adjusted_p_value"] for entry in family], holm([entry["p_value"] for entry in family]), rtol=1e-12
        )
    assert {entry["scope"] for _, entry in tests} == {"other runs"}
    baseline = right_by_image(frames, "AT", SEEDS)
    for row in rows[1:]:
        entry = row["against_baseline"]["Linf 0.1/robust_accuracy"]
        own = right_by_image(frames, row["arm"], SEEDS)
        difference = own.mean(0) - baseline.mean(0)
        assert entry["delta"] == pytest.approx(difference.mean())
        # Every run of an arm has the same share here, so that the seeds add nothing to the images' variance, and one
        # image more either way is added (Bonett & Price).
        padded = np.append(difference, [1, -1])
        error = padded.std(ddof=1) / np.sqrt(len(padded))
        assert entry["run_variances"] == [0, 0]
        assert entry["p_value"] == pytest.approx(2 * t.sf(abs(difference.mean()) / error, len(padded) - 1), rel=1e-6)
    verdicts = {row["arm"]: row["against_baseline"]["Linf 0.1/robust_accuracy"]["verdict"] for row in rows[1:]}
    assert verdicts == {"ADSR": "better", "bad": "no evidence"}
    assert rows[2]["against_baseline"]["accuracy"]["verdict"] == "worse"


def test_the_class_that_is_worst_under_attack_is_named_beside_its_accuracy(
    record: dict[str, Any], frames: dict[tuple[str, int], pd.DataFrame]
) -> None:
    variant = record["variants"][0]
    column = 2 + variant["figures"].index("Linf 0.1/robust_worst_class_accuracy")
    head, *shown = table(variant)
    assert head[column] == "robust, worst class"
    for row, cells in zip(variant["rows"], shown, strict=True):
        labels = frames["AT", 0]["label"].to_numpy()
        right = right_by_image(frames, row["arm"], SEEDS)
        of_class = {f"class {one}": right[:, labels == one].mean(1) for one in range(4)}
        worst = min(of_class, key=lambda name: of_class[name].mean())
        entry = row["figures"]["Linf 0.1/robust_worst_class_accuracy"]
        assert entry["class"] == worst
        assert entry["mean"] == pytest.approx(of_class[worst].mean())
        mean, spread = 100 * of_class[worst].mean(), 100 * of_class[worst].std(ddof=1)
        assert cells[column].startswith(f"{mean:.1f} ± {spread:.1f} ({worst})")


def test_marks_are_filled_only_where_other_seeds_are_spoken_for(tmp_path: Path) -> None:
    alone = study_record(fake_study(tmp_path / "one", RESULTS, **CHANGES | {"seeds": [0]}))
    several = study_record(fake_study(tmp_path / "three", RESULTS, **CHANGES))
    for found, mark, other in ((alone, "△", "▲"), (several, "▲", "△")):
        [cell] = [row[4] for row in table(found["variants"][0]) if row[0] == "ADSR"]
        assert cell.endswith(f" {mark}")
        assert not any(other in one for row in table(found["variants"][0]) for one in row)
    hollow = "△ better, ▽ worse on other images, but for these runs only"
    assert hollow in as_document(alone)
    assert hollow in as_terminal(alone)
    assert hollow not in as_document(several)
    assert "would be with other seeds and other images" in as_document(several)
    assert any(row[-1] == "better, these runs only" for row in differences(alone["variants"][0]))
    assert any(row[-1] == "better" for row in differences(several["variants"][0]))


def test_one_seed_is_tested_with_mcnemar_and_has_no_spread(tmp_path: Path) -> None:
    study = fake_study(tmp_path, RESULTS, **CHANGES | {"seeds": [0]})
    row = study_record(study)["variants"][0]["rows"][1]
    frames = {(cell.arm, 0): pd.read_parquet(cell.folder / "evaluation" / "records.parquet") for cell in study.cells}
    mine, theirs = (right_by_image(frames, arm, [0])[0] for arm in ("ADSR", "AT"))
    gained, lost = int((mine > theirs).sum()), int((mine < theirs).sum())
    entry = row["against_baseline"]["Linf 0.1/robust_accuracy"]
    assert entry["test"] == "exact McNemar"
    assert entry["p_value"] == pytest.approx(binomtest(gained, gained + lost).pvalue, rel=1e-9)
    assert row["figures"]["accuracy"]["spread"] is None
    assert table(study_record(study)["variants"][0])[2][2] == f"{100 * row['figures']['accuracy']['mean']:.1f}"


def test_a_large_table_can_still_find_miscalibration(tmp_path: Path) -> None:
    calibrated = {"images": 60, "robust": {"Linf 0.1": 0.3}, "noise_accuracy": None, "accuracy": 0.9}
    arms = {"AT": calibrated} | {
        f"sharp {number}": calibrated | {"accuracy": 0.5, "sharpness": 30} for number in range(5)
    }
    study = fake_study(tmp_path, arms, arms={arm: {} for arm in arms}, seeds=[0], baseline="AT")
    rows = study_record(study)["variants"][0]["rows"]
    assert sum("class_" not in name for row in rows for name in row["against_baseline"]) == 30
    assert {row["against_baseline"]["ece"]["verdict"] for row in rows[1:]} == {"worse"}


def test_what_failed_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    study = fake_study(tmp_path, {"AT": RESULTS["AT"]}, **CHANGES)
    by_name = {cell.name: cell for cell in study.cells}
    finish_with_fakes(by_name["ADSR, seed 1"], **RESULTS["ADSR"])
    begin(by_name["ADSR, seed 2"])
    finish(by_name["ADSR, seed 2"], error="RuntimeError: a | b", seconds=1.0)
    record = study_record(study)
    rows = {row[0]: row for row in table(record["variants"][0])}
    assert [rows[arm][1] for arm in ("AT", "ADSR", "bad")] == ["3", "1 of 3", "0 of 3"]
    assert set(rows["bad"][2:]) == {"–"}
    for text in (as_document(record), as_terminal(record)):
        assert f"- ADSR, seed 2: RuntimeError: a | b ({by_name['ADSR, seed 2'].folder / 'log.txt'})" in text
        assert "- ADSR, seed 0: not run to its end" in text
    line = next(one for one in csv.DictReader(io.StringIO(as_csv(record))) if one["arm"] == "ADSR")
    assert (line["seeds"], line["unfinished_seeds"]) == ("1", "0 2")


def test_what_was_measured_otherwise_is_not_compared(tmp_path: Path) -> None:
    study = fake_study(tmp_path, {**RESULTS, "bad": {**RESULTS["bad"], "data_seed": 5}}, **CHANGES)
    variant = study_record(study)["variants"][0]
    assert "test images (fingerprint) differ" in worded(variant["rows"][2]["not_compared"])
    assert variant["rows"][2]["against_baseline"] == {}
    assert any(row[-1].startswith("not compared: ") for row in differences(variant))


def test_the_gap_is_that_of_the_weights_that_were_measured(tmp_path: Path) -> None:
    study = fake_study(tmp_path, RESULTS, **CHANGES | {"seeds": [0]})
    drops = {"student": {"best": 0.5, "last": 0.4, "gap": 0.1}, "teacher": {"best": 0.6, "last": 0.59, "gap": 0.01}}
    for cell, publish in zip(study.cells, ("student", "teacher", "teacher"), strict=True):
        steps = {"best_step": 1, "last_step": 2}
        change_run(cell.folder, robust_overfitting={name: drop | steps for name, drop in drops.items()})
        summary = json.loads((cell.folder / "evaluation" / "summary.json").read_text())
        change_summary(cell.folder, model=summary["model"] | {"weights": publish})
        finish(cell, error=None, seconds=1.0)
    change_run(study.cells[2].folder, robust_overfitting={"student": drops["student"] | steps})
    rows = study_record(study)["variants"][0]["rows"]
    assert [row["figures"].get("best_to_last_gap", {}).get("mean") for row in rows] == [0.1, 0.01, None]


def test_the_teacher_has_a_row_of_its_own(tmp_path: Path) -> None:
    arms = {"AT": {}, "ADSR": {"method": "adsr"}}
    study = fake_study(tmp_path, {}, **CHANGES | {"arms": arms, "seeds": [0], "evaluation": {"weights": "both"}})
    for cell in study.cells:
        begin(cell)
        for weights in cell.weights:
            fake = {**RESULTS["AT"], "accuracy": 0.9 if weights == "teacher" else 0.8}
            write = fake_study(tmp_path / weights / cell.arm, {"x": fake}, arms={"x": {}}, baseline=None, seeds=[0])
            (write.cells[0].folder / "evaluation").rename(cell.evaluation_folder(weights))
        finish(cell, error=None, seconds=1.0)
    rows = study_record(study)["variants"][0]["rows"]
    assert [(row["name"], row["figures"]["accuracy"]["mean"]) for row in rows] == [
        ("AT", 0.8),
        ("ADSR", 0.8),
        ("ADSR (teacher)", 0.9),
    ]


def test_the_plan_is_called_first_only_where_every_finished_cell_began_under_it(tmp_path: Path) -> None:
    def heading(plan: str | None) -> str:
        changed = read_study(write_study(tmp_path, plan=plan, **CHANGES))
        return as_document(study_record(changed)).split("\n\n")[1]

    study = fake_study(tmp_path, {"AT": RESULTS["AT"]}, plan="Decided first.", **CHANGES)
    before, after = "## Plan, written before any result was seen", "## Plan, changed after the first cells were run"
    assert heading("Decided\nfirst. ") == before
    assert heading("Decided later.") == after
    assert heading(None) == after
    # A cell that is tried again keeps the plan of its first attempt.
    begin(read_study(write_study(tmp_path, plan="Decided later.", **CHANGES)).cells[0])
    finish(study.cells[0], error=None, seconds=1.0)
    assert heading("Decided first.") == before
    assert heading("Decided later.") == after


def test_cells_of_an_earlier_version_do_not_say_when_the_plan_was_written(tmp_path: Path) -> None:
    study = fake_study(tmp_path, RESULTS, plan="Decided first.", **CHANGES)
    for cell in study.cells:
        state = json.loads((cell.folder / "cell.json").read_text())
        del state["plan"]
        (cell.folder / "cell.json").write_text(json.dumps(state))
    record = study_record(study)
    assert "## Plan\n\nDecided first." in as_document(record)
    assert as_csv(record).count("\n") == 4


def test_the_machine_is_the_one_that_measured(tmp_path: Path) -> None:
    study = fake_study(tmp_path, {}, **CHANGES)
    assert "Measured on" not in as_document(study_record(study))
    for cell, machine in zip(study.cells, ("a GPU", "a CPU", "a GPU"), strict=False):
        begin(cell)
        write_fake_run(cell.folder, changes={"machine": machine}, **RESULTS[cell.arm])
        finish(cell, error=None, seconds=1.0)
    assert "Measured on a GPU; a CPU.\n" in as_document(study_record(study))


def test_the_document_leads_with_the_plan_and_has_a_table_for_each_variant(tmp_path: Path) -> None:
    variants = {"small": {}, "wide": {"image_size": 16}}
    study = fake_study(
        tmp_path, RESULTS, plan="One seed,\n\nchosen before.", variants=variants, **CHANGES | {"seeds": [0]}
    )
    for cell in study.cells:
        if cell.variant == "wide":
            # No longer the file that the cell wrote.
            change_summary(cell.folder, notes=[])
    text = as_document(study_record(study))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# A study",
        "## Plan, written before any result was seen",
        "## small",
        "### Against AT, in points",
        "## wide",
    ]
    assert text.index("One seed,\n\nchosen before.") < text.index("## small")
    assert "No cell has finished." in text
