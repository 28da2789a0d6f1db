"""What is printed after an evaluation, as a reader sees it."""

from pathlib import Path
from typing import Any

import pytest

from adsr_hf.cli.evaluation_text import evaluation_text
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import EvaluationRecords
from tests.evaluation.fake_records import write_fake_evaluation

THREAT = "Linf 8/255"


def records(folder: Path, **settings: Any) -> EvaluationRecords:
    given = {"robust": {THREAT: 0.4}, "noise_accuracy": None, "sanity": {"deterministic": "pass"}}
    return read_evaluation(write_fake_evaluation(folder, **(given | settings)))


def lines(text: str, start: str) -> list[list[str]]:
    """Words of the lines that begin so."""
    return [line.split() for line in text.splitlines() if line.startswith(start)]


def test_averages_stand_beside_the_most_frequent_class(tmp_path: Path) -> None:
    found = records(tmp_path, num_classes=2, class_names=["good", "bad"], class_shares=(0.68, 0.32), accuracy=0.95)
    text, figures = evaluation_text(found), found.summary["figures"]
    level = figures["ece"]["calibrated_level"]
    assert lines(text, "clean")[0][5:7] == [f"{100 * one:.1f}%" for one in (figures["ece"]["value"], level)]
    assert lines(text, "clean")[0][1] == f"{100 * figures['accuracy']['value']:.1f}%"
    assert lines(text, THREAT)[0][2] == "40.0%"
    assert lines(text, "always 'good'")[0][2] == f"{100 * figures['majority_share']['value']:.1f}%"
    [warning] = [line for line in text.splitlines() if line.startswith("warning")]
    assert f"under {THREAT} the accuracy is not shown" in warning
    assert "without attack" not in warning


def test_no_warning_where_the_model_is_better(tmp_path: Path) -> None:
    assert "warning" not in evaluation_text(records(tmp_path))


def test_worst_classes_come_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    found = records(tmp_path, num_classes=14, images=400)
    text, figures = evaluation_text(found), found.summary["figures"]
    robust = {
        name: figures[f"{THREAT}/class_robust_accuracy/{name}"] for name in found.summary["model"]["class_names"]
    }
    printed = [line.split("'")[1] for line in text.splitlines() if line.startswith("'class")]
    assert len(printed) == 10
    values = [robust[name]["value"] for name in printed]
    assert values == sorted(values)
    assert max(values) <= min(entry["value"] for name, entry in robust.items() if name not in printed)
    low, high = robust[printed[0]]["interval"]
    assert f"{100 * values[0]:.1f}% ({100 * low:.0f} to {100 * high:.0f})" in text
    assert "and 4 classes that do better" in text


@pytest.mark.parametrize("positive", [None, "bad"])
def test_two_classes_have_errors_by_name(tmp_path: Path, positive: str | None) -> None:
    found = records(tmp_path, num_classes=2, class_names=["good", "bad"], positive_class=positive)
    text, matrix = evaluation_text(found), found.summary["confusion"]
    for index, name, other, kind in ((0, "good", "bad", "false alarm: "), (1, "bad", "good", "missed: ")):
        label = f"{kind if positive else ''}'{name}' read as '{other}'"
        [line] = [line for line in text.splitlines() if line.startswith(label)]
        for condition in ("clean", THREAT):
            row = matrix[condition][index]
            assert f"{100 * row[1 - index] / sum(row):.1f}% (" in line


def test_a_name_cannot_command_the_terminal_or_fill_it(tmp_path: Path) -> None:
    names = ["\x1b[2J\x1b[31mred", "two\nlines", "x" * 400, "ばね"]
    text = evaluation_text(records(tmp_path, class_names=names))
    assert "\x1b" not in text
    assert "'two?lines'" in text
    # Two letters that take two columns each.
    [red], [japanese] = (
        [line for line in text.splitlines() if line.startswith(name)] for name in ("'?[2J?[31mred'", "'ばね'")
    )
    assert japanese.index("%") == red.index("%") - 2
    # The warning apart, a line fits a terminal.
    assert max(len(line) for line in text.splitlines()) < 120
