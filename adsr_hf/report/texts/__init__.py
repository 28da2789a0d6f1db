"""Every visible word of the page, by language. Imports nothing heavy."""

import re
from importlib.resources import files
from typing import Any

import yaml

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
        self._texts: dict[str, str] = _read(f"{language}.yaml")
        self._recorded: list[tuple[str, str]] = [] if language == "en" else _read(f"{language}_recorded.yaml")

    def __call__(self, key: str, **values: Any) -> str:
        """The text of that name, with ``{placeholders}`` filled in."""
        return self._texts[key].format(**values)

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def recorded(self, words: str) -> str | None:
        """A sentence that a record holds in English, in this language; None where no translation is known."""
        if self.language == "en":
            return words
        for pattern, translation in self._recorded:
            match = re.fullmatch(pattern, words, flags=re.DOTALL)
            if match:
                return translation.format(**{name: self._terms(text) for name, text in match.groupdict().items()})
        return None

    def _terms(self, text: str) -> str:
        """A list of terms that have a translation, such as ``"12 greyscale, 3 RGBA"``; anything else as it is."""
        translated = [self.recorded(part) for part in text.split(", ")]
        terms = [term for term in translated if term is not None]
        return self("list.comma").join(terms) if len(terms) == len(translated) else text


def _read(name: str) -> Any:
    return yaml.safe_load((files(__package__) / name).read_text(encoding="utf-8"))
