"""Sentences of records: a code and its values on disk, words where people read them."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypedDict, cast

import yaml

from adsr_hf.records.json_shapes import ShapeError


class Sentence(TypedDict):
    """What a record holds of a sentence, as JSON values.

    Attributes:
        code: one of :func:`english_sentences`.
        values: for the placeholders of its words: text, numbers, sentences, or lists of these.
    """

    code: str
    values: dict[str, Any]


# Earlier versions recorded the English words themselves.
Recorded = str | Sentence


@cache
def english_sentences() -> dict[str, str]:
    """Every code and its English words, with ``{placeholders}``."""
    words: dict[str, str] = yaml.safe_load((files(__package__) / "sentences.yaml").read_text(encoding="utf-8"))
    return words


def sentence(code: str, **values: Any) -> Sentence:
    """A sentence for a record.

    Raises:
        KeyError: for a code that has no words, or a value that its words need and that is not there.

    Example:
        >>> worded(sentence("sanity.too_few", images=3, needed=20))
        '3 rightly classified images are too few; 20 are needed.'
    """
    made = Sentence(code=code, values=values)
    worded(made)
    return made


def worded(recorded: Recorded, words: Mapping[str, str] | None = None, comma: str = ", ") -> str:
    """The words of a sentence; those of an earlier version's record as they are.

    Args:
        words: of every code in the reader's language; English where they are left out.
        comma: of that language, between the items of a list.
    """
    if isinstance(recorded, str):
        return recorded

    def shown(value: Any) -> Any:
        if isinstance(value, list):
            return comma.join(str(shown(item)) for item in value)
        return worded(cast(Sentence, value), words, comma) if isinstance(value, dict) else value

    template = (english_sentences() if words is None else words)[recorded["code"]]
    return template.format(**{name: shown(value) for name, value in recorded["values"].items()})


def check_recorded(value: Any, where: str) -> None:
    """Raise ShapeError unless ``value`` is text, or a sentence that can be put into words."""
    if not isinstance(value, (str, dict)):
        raise ShapeError(f"{where} is of type {type(value).__name__}, but must be text, or a code with values")
    try:
        worded(cast(Recorded, value))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ShapeError(
            f"{where} cannot be put into words ({type(error).__name__}: {str(error)[:80]}); where a later version "
            "wrote it, upgrade adsr_hf"
        ) from error
