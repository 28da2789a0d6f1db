"""Records that were tampered with, or that a disk has damaged, are refused by name: no figure of them is shown."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adsr_hf.cli.evaluation_text import evaluation_text
from adsr_hf.cli.main import main
from adsr_hf.decision.arms import check_same_conditions, read_arm
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.settings.errors import RecordsError
from tests.evaluation.fake_records import write_fake_run

ANY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = [0, -1, 10**400, 0.5, float("nan"), float("inf")]
JSON_VALUES = st.sampled_from([None, True, False, *NUMBERS, "", "x", "Linf 8/255", [], [0], {}, {"value": 1}])
COLUMNS = [
    *("index", "label", "clean.prediction", "clean.confidence", "clean.logits"),
    *("Linf 8/255.worst.prediction", "Linf 8/255.worst.logits", "Linf 8/255.worst.distance"),
    *("Linf 8/255.broken_by", "Linf 8/255.pgd.prediction"),
    *("noise.motion_blur.3.prediction", "noise.motion_blur.3.total_variation"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_run(tmp_path_factory.mktemp("run") / "run", images=60)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def keys_of(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in nested JSON."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        inside = list(content.items())
    elif isinstance(content, list):
        inside = list(enumerate(content[:3]))
    return [one for key, value in inside for one in [(*path, key), *keys_of(value, (*path, key))]]


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def all_that_read_it(run: Path, other: Path) -> None:
    """What a comparison reads, with an arm that nobody has damaged, and what evaluate prints."""
    arm = read_arm([str(run)])
    evaluation_text(arm.members[0].records)
    assert arm.members[0].images_per_second is None or arm.members[0].images_per_second > 0
    check_same_conditions(arm.members[0], read_arm([str(other)]).members[0])


def refused_or_the_same(run: Path, other: Path) -> None:
    """Either RecordsError with the folder's path, or nothing that a figure depends on has changed."""
    refusal = None
    try:
        all_that_read_it(run, other)
    except RecordsError as error:
        refusal = str(error)
    if refusal is not None:
        assert str(run) in refusal
        return
    mine, theirs = read_evaluation(run), read_evaluation(other)
    assert mine.table.equals(theirs.table)
    told, whole = mine.summary["figures"], theirs.summary["figures"]
    assert told.keys() == whole.keys()
    assert all(told[name]["value"] == pytest.approx(whole[name]["value"], abs=2e-9) for name in whole)


@ANY
@given(data=st.data())
@pytest.mark.parametrize("name", ["evaluation/summary.json", "run.json"])
def test_a_value_of_another_kind_or_a_missing_key(run: Path, copy: Path, name: str, data: st.DataObject) -> None:
    content = json.loads((run / name).read_text())
    *path, last = data.draw(st.sampled_from(keys_of(content)))
    place = at(content, tuple(path))
    if data.draw(st.booleans()):
        del place[last]
    else:
        place[last] = data.draw(JSON_VALUES)
    (copy / name).write_text(json.dumps(content))
    refused_or_the_same(copy, run)


@ANY
@given(data=st.data())
@pytest.mark.parametrize("name", ["evaluation/summary.json", "run.json", "evaluation/records.parquet"])
def test_a_flipped_byte_or_a_file_cut_short(run: Path, copy: Path, name: str, data: st.DataObject) -> None:
    content = bytearray((run / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    (copy / name).write_bytes(bytes(content))
    refused_or_the_same(copy, run)


@pytest.mark.parametrize("name", ["evaluation/summary.json", "run.json"])
@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", "[" * 100_000, '{"kind": "evaluation"}', '{"a": 1, "a": 2}', "\ufeff", "\xff"]
)
def test_a_file_of_something_else(run: Path, copy: Path, name: str, content: str) -> None:
    (copy / name).write_bytes(content.encode("latin-1" if content == "\xff" else "utf-8"))
    with pytest.raises(RecordsError) as caught:
        all_that_read_it(copy, run)
    assert str(copy / name) in str(caught.value)


@pytest.mark.parametrize("command", ["compare", "gate", "report"])
def test_commands_say_which_file_is_wrong(
    run: Path, copy: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json.loads((copy / "evaluation/summary.json").read_text())
    summary["figures"]["Linf 8/255/robust_accuracy"]["value"] = 0.99
    (copy / "evaluation/summary.json").write_text(json.dumps(summary))
    words = [command, str(copy), str(run)]
    (tmp_path / "policy.yaml").write_text("maximum_loss: {accuracy: 0.01}\n")
    words += {"compare": [], "gate": ["--policy", str(tmp_path / "policy.yaml")], "report": []}[command]
    words += [] if command == "compare" else ["--output", str(tmp_path / "output")]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert f"{copy / 'evaluation/summary.json'} does not tell what records.parquet holds" in told
    assert "figures.Linf 8/255/robust_accuracy is 0.99 over 60 images, but the rows give 0.4 over 60" in told


@pytest.mark.parametrize(
    "change",
    [
        lambda summary: summary["figures"]["accuracy"].update(images=61),
        lambda summary: summary["figures"].pop("ece"),
        lambda summary: summary["figures"].update(luck=summary["figures"]["ece"]),
        lambda summary: summary["figures"]["ece_after_temperature"].update(value=0.001),
        lambda summary: summary["reliability"]["clean"][0].update(count=1000),
        lambda summary: summary["confusion"]["clean"][0].__setitem__(0, 1000),
        lambda summary: summary["majority"].update(share=0.1),
        # What gate and majority decide on, of a figure whose value is right.
        lambda summary: summary["figures"]["accuracy"].update(interval=[0.89, 0.91]),
        lambda summary: summary["figures"]["ece"].update(interval=[0.0, 1.0]),
        lambda summary: summary["figures"]["class_accuracy/class 0"].update(interval=[-5.0, 7.0]),
        lambda summary: summary["figures"]["brier_score"].update(interval=[1.9, 2.0]),
    ],
)
def test_what_rows_do_not_give_is_refused(copy: Path, change: Callable[[Any], Any]) -> None:
    path = copy / "evaluation/summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))
    with pytest.raises(RecordsError, match=r"does not tell what records\.parquet holds"):
        read_evaluation(copy)


def _strings(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    return pyarrow.array([str(one) for one in column.to_pylist()])


def _half(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    return pyarrow.array([None if row % 2 else one for row, one in enumerate(column.to_pylist())], column.type)


def _shifted(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    return pyarrow.array(column.to_pylist()[1:] + column.to_pylist()[:1], column.type)


def _far(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    if pyarrow.types.is_list(column.type):
        return pyarrow.array([[float("nan")] * len(row) for row in column.to_pylist()], column.type)
    if pyarrow.types.is_string(column.type):
        return pyarrow.array(["luck"] * len(column), column.type)
    return pyarrow.array(np.full(len(column), -7), column.type)


def _ragged(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    rows = column.to_pylist()
    return pyarrow.array([*rows[:-2], rows[-2][:-1], [*rows[-1], 0.0]], column.type)


# What broke an image is text already.
REWRITES = [(name, _strings) for name in COLUMNS if not name.endswith("broken_by")]
REWRITES += [(name, _far) for name in COLUMNS]
REWRITES += [(name, _half) for name in COLUMNS if "broken_by" not in name and ".pgd." not in name]
REWRITES += [(name, _ragged) for name in COLUMNS if name.endswith(".logits")]
REWRITES += [(name, _shifted) for name in ("index", "clean.prediction", "Linf 8/255.broken_by", "clean.logits")]


@pytest.mark.parametrize(("name", "change"), REWRITES)
def test_rows_that_mean_nothing_are_refused_although_their_hash_fits(
    copy: Path, name: str, change: Callable[[pyarrow.ChunkedArray], pyarrow.Array]
) -> None:
    records = read_evaluation(copy)
    place = records.table.column_names.index(name)
    table = records.table.set_column(place, name, change(records.table.column(name)))
    EvaluationRecords(records.summary, table).write(copy / "evaluation")
    with pytest.raises(RecordsError, match=r"records\.parquet"):
        read_evaluation(copy)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_is_gone_is_named(copy: Path, name: str) -> None:
    records = read_evaluation(copy)
    EvaluationRecords(records.summary, records.table.drop_columns([name])).write(copy / "evaluation")
    with pytest.raises(RecordsError, match=r"is missing|is not one that the rows give"):
        read_evaluation(copy)


def test_a_kill_between_the_two_files_is_noticed(run: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New rows under the summary of an older evaluation of the same images."""
    newer = read_evaluation(write_fake_run(copy.parent / "newer", images=60, train_seed=5))

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("adsr_hf.evaluation.records.write_json", die)
    with pytest.raises(Killed):
        newer.write(copy / "evaluation")
    with pytest.raises(RecordsError, match=r"not of the same evaluation as summary\.json"):
        read_evaluation(copy)
