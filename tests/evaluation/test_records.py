"""Records are whole and of one evaluation, or refused."""

import json
from pathlib import Path

import pytest

from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.vectors import figure_vector
from adsr_hf.settings.errors import RecordsError
from tests.evaluation.fake_records import write_fake_evaluation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_fake_evaluation(tmp_path / "evaluation")


def test_a_run_folder_stands_for_its_evaluation(folder: Path) -> None:
    assert read_evaluation(folder.parent).table.equals(read_evaluation(folder).table)


def test_written_and_read_back(folder: Path, tmp_path: Path) -> None:
    records = read_evaluation(folder)
    records.write(tmp_path / "copy")
    copy = read_evaluation(tmp_path / "copy")
    assert copy.table.equals(records.table)
    assert copy.summary == records.summary
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["records.parquet", "summary.json"]


def test_means_over_images_are_the_figures(folder: Path) -> None:
    records = read_evaluation(folder)
    assert figure_vector(records, "accuracy").mean() == pytest.approx(0.9)
    assert figure_vector(records, "Linf 8/255/robust_accuracy").mean() == pytest.approx(0.4)
    assert figure_vector(records, "Linf 8/255/square/robust_accuracy").mean() == pytest.approx(0.4)
    assert figure_vector(records, "Linf 8/255/pgd/robust_accuracy").mean() == pytest.approx(0.5)
    assert figure_vector(records, "ece") is None
    assert figure_vector(records, "Linf 2/255/robust_accuracy") is None
    assert figure_vector(records, "Linf 8/255/fab-t/robust_accuracy") is None


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="make them with adsr evaluate"):
        read_evaluation(tmp_path)


def test_a_table_that_is_cut_short(folder: Path) -> None:
    path = folder / "records.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RecordsError, match=r"records\.parquet is damaged, or not of the same evaluation"):
        read_evaluation(folder)


def test_a_summary_that_is_cut_short(folder: Path) -> None:
    path = folder / "summary.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(RecordsError, match="damaged or cut short"):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 4}, "upgrade adsr_hf"),
        ({"schema_version": 2}, "old schema 2"),
        ({"kind": "comparison"}, "not the summary of an evaluation"),
        ({"threats": ["Linf 9/255"]}, "the column Linf 9/255.worst.prediction is missing"),
        ({"data.images": 7}, "there are 200 rows, and the summary tells of 7 images"),
    ],
)
def test_what_does_not_belong_together(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecordsError, match=message):
        read_evaluation(write_fake_evaluation(tmp_path / "evaluation", changes=changes))


def test_a_full_disk_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = read_evaluation(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adsr_hf.records.files.os.fsync", full)
    with pytest.raises(OSError, match=r"records.parquet cannot be written: No space left .*\. Make room"):
        EvaluationRecords(records.summary, records.table.slice(0, 3)).write(folder)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert json.loads((folder / "summary.json").read_text())["data"]["images"] == 200
