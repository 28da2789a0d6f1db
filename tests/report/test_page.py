"""What the page says: the records' figures and nothing else, whatever is in them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from adsr_hf.decision.arms import read_arm
from adsr_hf.decision.compare import compare, is_of_class
from adsr_hf.records.sentences import sentence
from adsr_hf.report.charts import axis_decimals
from adsr_hf.report.report_data import read_report_data
from adsr_hf.report.texts import Texts
from adsr_hf.report.wording import change
from tests.report.reading import Reader, change_run, change_summary, page_of, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / "candidate", robust={"Linf 4/255": 0.75, "Linf 8/255": 0.6}),
        write_run(folder / "current", train_seed=1, method="pgd_at", gap=0.08),
    ]


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> Reader:
    return Reader(page_of(*runs))


@pytest.mark.parametrize(
    ("weights", "publish", "expected"),
    [("teacher", "student", "2.0 points"), (None, "teacher", "2.0 points"), ("student", "student", "9.0 points")],
)
def test_the_headline_on_overfitting_is_of_the_weights_that_were_measured(
    run: Path, weights: str | None, publish: str, expected: str
) -> None:
    record, model = (json.loads((run / name).read_text()) for name in ("run.json", "evaluation/summary.json"))
    steps = {"best_step": 50, "last_step": 100}
    drops = {
        "student": {"best": 0.5, "last": 0.41, "gap": 0.09} | steps,
        "teacher": {"best": 0.6, "last": 0.58, "gap": 0.02} | steps,
    }
    change_run(run, config=record["config"] | {"publish": publish}, robust_overfitting=drops)
    change_summary(run, model=model["model"] | {"weights": weights})
    told = re.search(r"ended at [\d.]+%: ([\d.]+ points)", Reader(page_of(run)).text)
    assert told is not None
    assert told[1] == expected


@pytest.fixture
def run(tmp_path: Path, runs: list[Path]) -> Path:
    """A copy of the candidate that a test may change."""
    return Path(shutil.copytree(runs[0], tmp_path / "run"))


def test_the_epochs_are_those_that_were_trained_where_max_steps_ended_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    change_run(run, config=record["config"] | {"num_train_epochs": 200, "max_steps": 100})
    rows = Reader(page_of(run)).rows
    assert [row[1] for row in rows if row[0] == "Epochs"] == ["10"]


def test_every_figure_of_the_records_stands_in_the_table(runs: list[Path], page: Reader) -> None:
    summaries = [json.loads((run / "evaluation" / "summary.json").read_text())["figures"] for run in runs]
    names = {
        "Accuracy": "accuracy",
        "Mean confidence": "mean_confidence",
        "Calibration error (ECE)": "ece",
        "ECE, equal-mass bins": "ece_equal_mass",
        "ECE after one temperature": "ece_after_temperature",
        "Robust accuracy, Linf 8/255": "Linf 8/255/robust_accuracy",
        "… after pgd, Linf 8/255": "Linf 8/255/pgd/robust_accuracy",
        "Calibration error (ECE), Linf 4/255": "Linf 4/255/robust_ece",
        "Accuracy under noise": "noise/accuracy",
        "Decisions changed by noise": "noise/flip_rate",
        "Output stability under noise": "noise/output_stability",
    }
    for heading, name in names.items():
        for cell, figures in zip(page.row(heading), summaries, strict=True):
            low, high = figures[name]["interval"]
            expected = [f"{100 * figures[name]['value']:.1f}%", f"{100 * low:.1f}–{100 * high:.1f}%"]
            assert cell.split() == expected, heading
    assert page.row("Brier score")[0].split()[0] == f"{summaries[0]['brier_score']['value']:.3f}"


def test_the_ab_table_holds_the_comparison(runs: list[Path], page: Reader) -> None:
    found = compare(*(read_arm([str(run)]) for run in runs), latency=False)
    robust = found.delta("Linf 8/255/robust_accuracy")
    assert robust is not None
    assert robust.verdict == "better"
    verdict, change, candidate, current, p_value = page.row("Robust accuracy, Linf 8/255 ↑")
    assert candidate.startswith("60.0%")
    assert current.startswith("40.0%")
    low, high = (f"{100 * one:+.1f}".replace("-", "−") for one in robust.interval)
    assert change.split() == ["+20.0", f"[{low},", f"{high}]"]
    assert verdict == "better"
    assert p_value == "< 0.001"
    verdict, change, candidate, current, _ = page.row("Robust accuracy lost after the best step ↓")
    assert (candidate, current) == ("3.0%", "8.0%")
    assert change.startswith("−5.0")
    assert verdict == "not tested"


def test_the_top_says_in_words_what_the_records_say(runs: list[Path], page: Reader) -> None:
    expected = compare(*(read_arm([str(run)]) for run in runs), latency=False).delta("Linf/expected_robustness")
    assert expected is not None
    assert expected.verdict == "better"
    assert "candidate, the candidate, against current, the current model, on the same images." in page.text
    gain = f"Expected robustness, Linf ({100 * expected.delta:+.1f} points)"
    assert f"Better: {gain}, Robust accuracy, Linf 8/255 (+20.0 points)" in page.text
    averaged = f"{100 * expected.candidate:.1f}% are classified correctly: the expected robustness"
    assert averaged in page.text
    assert "When an attacker may change every pixel value by up to 8 of 255 grey levels, 60.0% are still" in page.text
    assert "of the images are right without an attack and wrong with one" in page.text
    assert "All 10 sanity checks that apply were passed, but not all of AutoAttack's four attacks" in page.text
    assert "genuine" not in page.text
    assert "peaked at 45.0% and ended at 42.0%: 3.0 points were lost" in page.text
    assert [row[1:] for row in page.rows if row[0] == "candidate (student)"] == [
        ["45.0% at step 50", "42.0% at step 100", "3.0"]
    ]


def test_arms_with_several_seeds_show_means_and_ranges(tmp_path: Path) -> None:
    members = [write_run(tmp_path / f"seed{seed}", train_seed=seed, accuracy=0.9 + 0.02 * seed) for seed in (0, 1)]
    page = Reader(page_of(",".join(map(str, members))))
    assert [cells[1].split() for cells in page.rows if cells[0] == "Accuracy"] == [["91.0%", "90.0–92.0%"]]
    assert "seed0 and its other seeds (2 runs)" in page.text
    assert page.row("Seed of training")[0] == "0, 1"


def test_nothing_is_fetched_and_names_are_unique(page: Reader) -> None:
    assert [one for one in page.fetched if not one.startswith(("data:image/png;base64,", "#"))] == []
    assert "script" not in page.tags
    assert page.open == []
    assert len(set(page.names)) == len(page.names)
    assert {one[1:] for one in page.fetched if one.startswith("#")} <= set(page.names)


def test_figures_keep_text_as_text_and_bake_no_black(runs: list[Path]) -> None:
    drawings = re.findall(r"<figure>.*?<svg (.*?)</svg>", page_of(runs[0]), flags=re.DOTALL)
    assert len(drawings) >= 8
    for drawing in drawings:
        assert "<text" in drawing
        assert "currentColor" in drawing
        assert not re.search(r"(?:fill|stroke): (?:#000|black)", drawing)
        assert 'role="img" aria-label="' in drawing


def test_training_curves_mark_the_best_and_the_last(runs: list[Path]) -> None:
    text = Reader(page_of(runs[0])).text
    assert "best 45.0%" in text
    assert "last 42.0%" in text
    for title in ("Temperature", "Interpolation λ", "Mean λ over images"):
        assert title in text


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("accuracy", -0.0004, "+0.0"),
        ("accuracy", -0.0123, "−1.2"),
        ("Linf 8/255/robust_brier_score", 0.0456, "+0.046"),
        ("training_images_per_second", -111.6, "−112"),
    ],
)
def test_changes_are_told_in_points_or_in_their_own_unit(name: str, value: float, shown: str) -> None:
    assert change(name, value) == shown


def test_every_name_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>&\"'$x$"
    run = write_run(tmp_path / "run", class_names=[bad, "b", "c", "d"])
    summary = json.loads((run / "evaluation/summary.json").read_text())
    change_summary(
        run,
        model=summary["model"] | {"source": bad},
        data=summary["data"] | {"source": bad},
        machine=bad,
        notes=[bad],
        sanity=[{"name": bad, "outcome": "fail", "figures": {}, "words": bad}],
        versions={bad: bad},
    )
    change_run(run, data_summary=f"made up; {bad}", model={"model": bad}, versions={"torch": bad})
    renamed = run.rename(run.with_name("_<b>run&$y$"))
    text = page_of(renamed, title=bad)
    assert "<script" not in text
    assert "<b>run" not in text
    page = Reader(text)
    assert bad in page.text
    assert "_<b>run&$y$" in page.text
    assert page.row("Machine of the measurement") == [bad]


def test_japanese_page_holds_no_english_sentence(runs: list[Path], tmp_path: Path) -> None:
    runs = [Path(shutil.copytree(one, tmp_path / one.name)) for one in runs]
    notes = [sentence("note.fallen_images")]
    for one in runs:
        words = sentence("sanity.two_passes.pass", difference=0.0)
        verdicts = json.loads((one / "evaluation/summary.json").read_text())["sanity"]
        change_summary(one, notes=notes, sanity=[verdict | {"words": words} for verdict in verdicts])
        converted = sentence("data.converted", kinds=[sentence("data.images_of_kind", count=3, kind="RGBA")])
        change_run(one, data_summary=["made up: 4 classes", converted, sentence("data.skipped_images", count=2)])
    text = page_of(*runs, language="ja")
    page = Reader(text)
    assert '<html lang="ja">' in text
    # What the made-up machine is called stands for a name.
    prose = "|".join([*page.prose, *page.told]).replace("a made-up machine", "")
    assert re.findall(r"[A-Za-z]+ [a-z]{2,} [a-z]{2,}(?: [a-z]+)*", prose) == []
    assert "60.0%" in page.text
    assert page.row("攻撃下の正解率（Linf 8/255） ↑")[0] == "改善"
    assert len(page.tags) == len(Reader(page_of(*runs)).tags)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_sentences_of_an_earlier_version_are_shown_in_english(run: Path, language: str) -> None:
    words = {name: f"The {name} of an earlier version." for name in ("note", "verdict", "conversion", "refusal")}
    verdict = json.loads((run / "evaluation/summary.json").read_text())["sanity"][0] | {"words": words["verdict"]}
    change_summary(run, notes=[words["note"]], sanity=[verdict])
    change_run(run, data_summary=f"made up; {words['conversion']}", calibration={"refused": words["refusal"]})
    page = page_of(run, language=language)
    for english in words.values():
        assert (f'<q lang="en">{english}</q>' in page) == (language == "ja")
        assert english in page


def test_missing_parts_are_said(run: Path) -> None:
    shutil.rmtree(run / "evaluation")
    write_run(run.with_name("bare"), noise_accuracy=None, temperature=None, robust={}, attacks=(), examples=0)
    bare = run.with_name("bare")
    change_summary(bare, sanity=[])
    (bare / "run.json").unlink()
    text = Reader(page_of(bare)).text
    for words in (
        "No attack was run, so nothing is known",
        "Stability under noise was not measured. Run adsr evaluate with --stability true.",
        "No attack was measured. Run adsr evaluate with --threat",
        "Nobody has checked whether the accuracy under attack can be believed",
        "The sanity checks were not run for bare. Run adsr evaluate with --sanity true.",
        "No run.json lies beside the records of bare",
        "These runs logged no schedule",
        "The records of bare hold no examples",
        "no temperature was fitted",
        "One model is shown, so there is nothing to compare.",
    ):
        assert words in text, words


def test_a_failed_sanity_check_is_said_at_the_top(run: Path) -> None:
    verdicts = json.loads((run / "evaluation/summary.json").read_text())["sanity"]
    change_summary(run, sanity=[verdicts[0] | {"outcome": "fail"}, *verdicts[1:]])
    text = Reader(page_of(run)).text
    assert "Do not rely on the accuracy under attack: 1 of 10 sanity checks failed" in text
    assert text.index("Do not rely") < text.index("What was trained")


def test_runs_that_cannot_be_compared_are_shown_with_the_reason(tmp_path: Path, runs: list[Path]) -> None:
    other = write_run(tmp_path / "other", data_seed=9)
    page = Reader(page_of(runs[0], other))
    assert "were not measured under the same conditions" in page.text
    assert "test images (fingerprint) differ" in page.text
    assert not any("↑" in cells[0] for cells in page.rows if cells)
    assert len(page.row("Accuracy")) == 2


def test_an_evaluation_folder_finds_its_run(runs: list[Path]) -> None:
    inside, outside = (page_of(path) for path in (runs[0] / "evaluation", runs[0]))
    assert inside == outside


def test_equal_names_are_told_apart(tmp_path: Path, runs: list[Path]) -> None:
    twin = Path(shutil.copytree(runs[1], tmp_path / "elsewhere" / "candidate"))
    text = Reader(page_of(runs[0], twin)).text
    assert "elsewhere/candidate" in text


@pytest.mark.parametrize(("ticks", "decimals"), [([0, 0.025, 0.05, 0.075, 0.1], 1), ([0, 0.05, 0.1], 0), ([0.5], 0)])
def test_no_label_of_an_axis_is_rounded(ticks: list[float], decimals: int) -> None:
    assert axis_decimals(ticks) == decimals


def test_of_three_runs_the_first_is_compared_with_each_and_one_of_other_images_is_warned_of(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", accuracy=0.9)
    second = write_run(tmp_path / "second", accuracy=0.6, seed=1)
    third = write_run(tmp_path / "third", images=120)
    page = Reader(page_of(first, second, third))
    top = page.text[: page.text.index("What was trained, against what")]
    assert "third was measured under other conditions than first (120 images against 200)" in top
    assert "second was measured under other conditions" not in top
    assert "The first, first, is compared with each other one" in page.text
    rows = [row for row in page.rows if row[0] == "Accuracy\u00a0↑"]
    assert [row[1] for row in rows] == ["better"]


def test_tests_against_several_models_are_corrected_together(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first")
    others = [write_run(tmp_path / f"other{seed}", accuracy=0.87, seed=seed) for seed in (1, 2, 3)]
    alone = read_report_data([str(first), str(others[0])], Texts("en")).comparisons
    together = read_report_data([str(first), *map(str, others)], Texts("en")).comparisons
    assert list(together) == ["other1", "other2", "other3"]
    for name in ("accuracy", "Linf 8/255/robust_accuracy"):
        p_alone, p_together = (found["other1"].delta(name) for found in (alone, together))
        assert p_alone is not None
        assert p_together is not None
        assert p_alone.p_value == p_together.p_value
        assert (p_alone.adjusted_p_value or 0) <= (p_together.adjusted_p_value or 0)
    smallest = min(
        (delta for found in together.values() for delta in found.deltas if delta.p_value is not None),
        key=lambda delta: delta.p_value or 0,
    )
    tests = sum(
        delta.p_value is not None and not is_of_class(delta.name)
        for found in together.values()
        for delta in found.deltas
    )
    if not is_of_class(smallest.name):
        assert smallest.adjusted_p_value == pytest.approx(min(1.0, tests * (smallest.p_value or 0)))
