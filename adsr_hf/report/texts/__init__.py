"""Every visible word of the page, by language. Imports nothing heavy."""

from importlib.resources import files
from typing import Any

import yaml

from adsr_hf.records.sentences import Recorded, english_sentences, worded

LANGUAGES = ("en", "ja")


class Texts:
    """The page's texts in one language; values are put in by name.

    Args:
        language: one of :data:`LANGUAGES`.

    Raises:
        ValueError: for another language.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"language={language!r} is not there; choose one of {', '.join(LANGUAGES)}")
        self.language = language
        self._texts = _read(language) | (english_sentences() if language == "en" else {})

    def __call__(self, key: str, **values: Any) -> str:
        """The text of that name, with ``{placeholders}`` filled in."""
        return self._texts[key].format(**values)

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def recorded(self, words: Recorded) -> str:
        """A sentence from a record; the English of an earlier version's record as it is."""
        return worded(words, self._texts, self("list.comma"))


def _read(language: str) -> dict[str, str]:
    texts: dict[str, str] = yaml.safe_load((files(__package__) / f"{language}.yaml").read_text(encoding="utf-8"))
    return texts
