"""Sentences are made whole, and one from a stranger's record is refused before it is shown."""

from pathlib import Path
from typing import Any

import pytest

from adsr_hf.records.json_shapes import ShapeError
from adsr_hf.records.sentences import check_recorded, english_sentences, sentence, worded

PACKAGE = Path(__file__).parents[2] / "adsr_hf"


def test_a_sentence_without_words_or_values_is_not_recorded() -> None:
    with pytest.raises(KeyError, match="no such code"):
        sentence("no such code")
    with pytest.raises(KeyError, match="needed"):
        sentence("sanity.too_few", images=3)


def test_no_code_has_words_for_nothing() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    for code in english_sentences():
        topic, _, end = code.rpartition(".")
        wanted = [f'"{topic}.{{kind}}"'] if topic == "data.kind" else [f'"{code}"']
        wanted += [f'"{topic}"'] if end in ("pass", "fail") else []
        assert any(text in source for text in wanted), code


def test_words_of_an_earlier_version_stay_as_they_are() -> None:
    check_recorded("{no} placeholder", "notes[0]")
    assert worded("{no} placeholder") == "{no} placeholder"


NESTED: Any = "deep"
for _ in range(3000):
    NESTED = {"code": "sanity.radius", "values": {"threat": NESTED}}


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        ["a list"],
        {},
        {"code": "sanity.steps"},
        {"code": ["sanity.steps"], "values": {}},
        {"code": "of a later version", "values": {}},
        {"code": "sanity.steps", "values": {}},
        {"code": "sanity.steps", "values": ["count"]},
        {"code": "sanity.gradient.pass", "values": {"share": "a half"}},
        {"code": "sanity.gradient.pass", "values": {"share": 10**400}},
        {"code": "sanity.stronger_attack.pass", "values": {"trail": [{"code": "sanity.steps", "values": {}}]}},
        NESTED,
    ],
    ids=lambda value: type(value).__name__ if value is NESTED else str(value)[:60],
)
def test_what_cannot_be_put_into_words_is_refused(value: Any) -> None:
    with pytest.raises(ShapeError, match=r"notes\[0\]"):
        check_recorded(value, "notes[0]")
