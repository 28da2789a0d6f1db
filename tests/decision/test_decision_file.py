"""decision.json comes from a stranger: whatever it holds, it is read whole or refused, and nothing is written."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adsr_hf.cli.main import main
from adsr_hf.decision.decision_file import DecisionError, read_decision
from tests.evaluation.fake_records import write_fake_run

HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["../x", "/etc/passwd", "a\0b", "promote", "0" * 64, "~", "C:\\x", [], {}, [{}], {"a": None}]),
)


def places(content: Any, path: tuple = ()) -> list[tuple]:
    """Where each value of the keys that are acted on lies."""
    if not isinstance(content, dict):
        return [path]
    found = [path] if path else []
    acted_on = ("decision", "exit_status", "kind", "schema_version", "candidate_model", "rollback_point")
    keys = content if path else acted_on
    return found + [place for key in keys for place in places(content[key], (*path, key))]


def changed(content: dict, path: tuple, value: Any) -> dict:
    result = copy.deepcopy(content)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return result


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_any_other_value_is_refused(decision: Path, data: st.DataObject) -> None:
    whole = json.loads(decision.read_text())
    read_decision(decision)
    path = data.draw(st.sampled_from(places(whole)))
    value = data.draw(HOSTILE)
    hostile = decision.with_name("hostile.json")
    hostile.write_text(json.dumps(changed(whole, path, value)))
    try:
        found = read_decision(hostile)
    except DecisionError:
        return
    # Only another place or hash of the right form is another decision that can be read.
    for model in (found.candidate_model, found.rollback_point):
        assert all(len(one) == 64 and set(one) <= set("0123456789abcdef") for one in model.sha256.values())
        assert model.path is not None
        assert Path(model.path).is_absolute()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("../../authorized_keys", None),
        ("../../authorized_keys", "0" * 64),
        ("/tmp/authorized_keys", "0" * 64),
        ("authorized_keys", None),
        ("extra.safetensors", None),
        ("config.json", None),
        ("config.json", "0" * 63),
        ("config.json", "0" * 64 + "\n"),
        ("config.json", "G" * 64),
        ("config.json", 10**63),
        ("..", "0" * 64),
    ],
)
@pytest.mark.parametrize("command", ["rollback", "promote"])
def test_nothing_is_written_outside_the_target(
    promotion: Path, tmp_path: Path, name: str, value: object, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source that lacks the file, so that its hash is None too."""
    served = write_fake_run(tmp_path / "deep" / "served", train_seed=9)
    content = json.loads(promotion.read_text())
    for model in ("candidate_model", "rollback_point"):
        content[model]["sha256"][name] = value
    promotion.write_text(json.dumps(content))
    (tmp_path / "authorized_keys").write_text("mine")
    (tmp_path.parent / "authorized_keys").write_text("theirs")
    before = tree(tmp_path)
    assert main([command, str(promotion), "--to", str(served)]) == 1
    told = capsys.readouterr().err
    assert "sha256" in told
    assert "Traceback" not in told
    assert tree(tmp_path) == before


def test_every_key_is_needed_and_no_other_is_known(decision: Path) -> None:
    whole = json.loads(decision.read_text())
    variants = [{key: value for key, value in whole.items() if key != gone} for gone in whole] + [whole | {"more": 1}]
    for key in ("candidate_model", "rollback_point"):
        variants += [whole | {key: {k: v for k, v in whole[key].items() if k != gone}} for gone in whole[key]]
        variants.append(whole | {key: whole[key] | {"more": 1}})
        variants.append(whole | {key: whole[key] | {"hub_name": "a/b", "revision": "0" * 40}})
        variants.append(whole | {key: whole[key] | {"path": None, "hub_name": "../b", "revision": "0" * 40}})
        variants.append(whole | {key: whole[key] | {"path": None, "hub_name": "a/b", "revision": "main"}})
        variants.append(whole | {key: whole[key] | {"path": "relative/folder"}})
    for variant in variants:
        decision.write_text(json.dumps(variant))
        with pytest.raises(DecisionError):
            read_decision(decision)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"3", b'"promote"', b"\xff\xfe", b"[" * 200_000, b'{"kind": 1, "kind": "decision"}'],
)
@pytest.mark.parametrize("command", ["rollback", "promote"])
def test_damaged_files_are_refused_in_words(
    tmp_path: Path, content: bytes, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "decision.json"
    path.write_bytes(content)
    assert main([command, str(path), "--to", str(tmp_path / "served")]) == 1
    assert "is not a decision of adsr gate" in capsys.readouterr().err


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "typo.json", tmp_path):
        assert main(["rollback", str(path), "--to", str(tmp_path / "served")]) == 1
        told = capsys.readouterr().err
        assert f"there is no file {path}" in told
        assert "Errno" not in told
