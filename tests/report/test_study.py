"""A study on the page: its tables in both languages, alone or after runs."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsr_hf.cli.main import main
from adsr_hf.report.page import study_page
from adsr_hf.report.studies import read_study_record
from adsr_hf.report.texts import Texts
from adsr_hf.settings.errors import RecordsError
from adsr_hf.study.cells import begin, finish
from adsr_hf.study.description import Study
from adsr_hf.study.results import study_record
from adsr_hf.study.tables import as_document, as_terminal
from tests.evaluation.test_damaged_records import JSON_VALUES, at, keys_of
from tests.report.reading import Reader, write_run
from tests.study.files import fake_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A good arm, a baseline, and one whose second seed failed."""
    results: dict[str, Any] = {
        "AT": {"robust": {"Linf 0.1": 0.4}},
        "ADSR": {"robust": {"Linf 0.1": 0.7}},
        "late": {"robust": {"Linf 0.1": 0.4}},
    }
    arms = {arm: {} for arm in results}
    folder = tmp_path_factory.mktemp("study")
    study = fake_study(folder, results, arms=arms, title="<b>Who</b> wins?", plan="First.\n\nSecond.")
    failed = next(cell for cell in study.cells if cell.arm == "late" and cell.seed == 1)
    begin(failed)
    finish(failed, error="RuntimeError: <no> memory", seconds=1.0)
    (study.output_dir / "study.json").write_text(json.dumps(study_record(study)))
    return study


def test_the_page_tells_the_table_of_the_record(study: Study) -> None:
    record = read_study_record(str(study.output_dir))
    page = Reader(study_page([record], Texts("en")))
    figures = record["variants"][0]["figures"]
    robust = 2 + figures.index("Linf 0.1/robust_accuracy")
    rows = {row[0]: row for row in page.rows[1:4]}
    assert [len(row) for row in page.rows[:4]] == [2 + len(figures)] * 4
    assert page.rows[0][robust] == "Robust accuracy, Linf 0.1\u00a0↑"
    assert rows["ADSR"][robust] == "70.0% ± 0.0% ▲"
    assert rows["AT"][robust] == "40.0% ± 0.0%"
    assert rows["late"][1:3] == ["1 of 2", "90.0%"]
    tests = [row for row in page.rows if len(row) == 5 and row[1] == page.rows[0][robust]]
    assert [(row[0], row[2]) for row in tests] == [("ADSR", "better"), ("late", "no evidence")]
    assert "<b>Who</b> wins?" in page.text
    assert "late, seed 1: RuntimeError: <no> memory" in page.text.replace(" :", ":").replace(":  ", ": ")
    assert page.fetched == []


def test_a_study_stands_alone_or_after_runs_in_both_languages(study: Study, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    output = tmp_path / "report.html"
    alone, after = [str(study.output_dir)], [str(run), str(study.output_dir / "study.json")]
    for language, words, title in (("ja", alone, "比較実験：<b>Who</b>"), ("en", after, "Study: <b>Who</b>")):
        assert main(["report", *words, "-o", str(output), "--language", language]) == 0
        page = Reader(output.read_text(encoding="utf-8"))
        assert title in page.text
        # The run's own sections are there only where a run was named.
        assert ("class 0" in page.text) == (words is after)


@pytest.mark.parametrize(
    ("changes", "english", "japanese"),
    [
        ({}, "The plan, written before any result was seen First.", "計画（結果を見る前に記載） First."),
        ({"plan_written": "after results"}, "The plan, changed after", "計画（最初の実行後に変更） First."),
        ({"plan_written": "after results", "plan": ""}, "holds no plan any more", "計画はもう書かれていません"),
        ({"plan_written": "unknown"}, "The plan First.", "計画 First."),
    ],
)
def test_the_plan_is_headed_by_when_it_was_written(
    study: Study, changes: dict[str, Any], english: str, japanese: str
) -> None:
    record = read_study_record(str(study.output_dir)) | changes
    assert english in Reader(study_page([record], Texts("en"))).text
    assert japanese in Reader(study_page([record], Texts("ja"))).text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"kind": "comparison", "schema_version": 1}', "is no study"),
        ('{"kind": "study", "schema_version": "3"}', "is no study"),
        ('{"kind": "study", "schema_version": 2}', "old schema 2"),
        ('{"kind": "study", "schema_version": 4}', "title is missing"),
        ('{"kind": "study", "schema_version": 5}', "upgrade adsr_hf"),
        ("[]", "cannot be read"),
    ],
)
def test_a_damaged_study_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(RecordsError, match=message):
        read_study_record(str(tmp_path))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_study_with_another_value_or_without_a_key_is_refused_or_shown(study: Study, data: st.DataObject) -> None:
    record = read_study_record(str(study.output_dir))
    *path, last = data.draw(st.sampled_from(keys_of(record)))
    place = at(record, tuple(path))
    if data.draw(st.booleans()):
        del place[last]
    else:
        place[last] = data.draw(JSON_VALUES)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "study.json").write_text(json.dumps(record))
        with suppress(RecordsError):
            study_page([read_study_record(folder)], Texts("en"))


def test_the_most_frequent_class_stands_beside_a_table_with_a_warning_for_arms_that_do_not_beat_it(
    tmp_path: Path,
) -> None:
    shares = {"class_shares": [0.7, 0.1, 0.1, 0.1]}
    results: dict[str, Any] = {
        "AT": {"robust": {"Linf 0.1": 0.4}} | shares,
        "ADSR": {"robust": {"Linf 0.1": 0.85}} | shares,
    }
    record = study_record(fake_study(tmp_path, results, arms={"AT": {}, "ADSR": {}}))
    share = record["variants"][0]["majority"]["share"]
    assert share == pytest.approx(0.7, abs=0.1)
    (tmp_path / "study.json").write_text(json.dumps(record))
    page = Reader(study_page([read_study_record(str(tmp_path))], Texts("en"))).text
    assert f"would reach {100 * share:.1f}%, whatever the attack" in page
    assert "AT is not shown to do better" in page
    assert "ADSR is not shown to do better" not in page
    for text in (as_terminal(record), as_document(record)):
        assert f"Always 'class 0': {100 * share:.1f}, clean and under attack." in text
        assert (
            f"warning: under Linf 0.1 the accuracy of a seed of AT is not shown to be above {100 * share:.1f}%" in text
        )
        assert "a seed of ADSR" not in text
