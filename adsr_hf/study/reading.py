"""Values out of a study file, each of the kind that is wanted."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.selection import Layer, merged_layers
from adsr_hf.settings.yaml_files import read_settings

# The study sets these itself, for each cell.
_OWN_FIELDS = {
    "seed": "list it in seeds",
    "output_dir": "set output_dir of the study",
    "resume_from_checkpoint": "leave it out, since a cell that was cut short is continued anyway",
}


def slug(name: str) -> str:
    """The name as part of a path: letters, digits, dots and plus signs stay."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.")


class StudyReader:
    """Takes values out of a study file and checks what kind they are.

    Args:
        path: of the file, for messages and for the recipes, which it names relative to itself.
        content: of the file.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self._content = content
        self._recipes: dict[str, dict[str, Any]] = {}

    def text(self, name: str) -> str | None:
        """Text, or None where it is left out."""
        value = self._content.get(name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self._refused(name, value, "text; put it in quotes, or leave it out")
        return value

    def count(self, name: str) -> int | None:
        """A number of at least 1, or None where it is left out."""
        value = self._content.get(name)
        if value is not None and (not _is_whole(value) or value < 1):
            raise self._refused(name, value, "a whole number of at least 1")
        return value

    def seeds(self) -> tuple[int, ...]:
        """The seeds, each once."""
        value = self._content.get("seeds")
        fits = isinstance(value, list) and value and all(_is_whole(item) and 0 <= item < 2**32 for item in value)
        if not fits:
            raise self._refused("seeds", value, "a list of whole numbers from 0 on, such as [0, 1, 2]")
        assert isinstance(value, list)
        if len(set(value)) < len(value):
            raise self._refused("seeds", value, "different numbers; a seed that is run twice tells nothing new")
        return tuple(value)

    def words(self, name: str) -> tuple[str, ...] | None:
        """Words of a command line, or None where they are left out."""
        value = self._content.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or any(isinstance(item, (dict, list, bool)) or item is None for item in value):
            raise self._refused(name, value, "a list of words, such as [--config_file, gpus.yaml]")
        return tuple(map(str, value))

    def mapping(self, name: str) -> dict[str, Any]:
        """Fields to values; empty where it is left out."""
        value = self._content.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self._refused(name, value, "a mapping of names to values")
        return value

    def overrides(self, name: str, *, required: bool) -> dict[str, dict[str, Any]]:
        """Names to the fields that change; each name leads to a folder of its own."""
        value = self._content.get(name)
        if value is None and not required:
            return {}
        if not isinstance(value, dict) or not value:
            raise self._refused(name, value, "a mapping of names to fields, such as {AT: {method: pgd_at}}")
        slugs: dict[str, str] = {}
        for key, fields in value.items():
            if not isinstance(key, str) or not slug(key):
                raise self._refused(
                    f"the name {key!r} of {name}", key, "text with letters or digits; put it in quotes"
                )
            if not isinstance(fields, (dict, type(None))) or not all(isinstance(field, str) for field in fields or {}):
                raise self._refused(f"{name}.{key}", fields, "a mapping of a recipe's fields to values")
            if (other := slugs.setdefault(slug(key).lower(), key)) != key:
                raise UsageError(f"{name} {other!r} and {key!r} of {self.path} would share a folder; rename one")
        return {key: fields or {} for key, fields in value.items()}

    def cell_settings(
        self, where: str, of_variant: dict[str, Any], of_arm: dict[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """A recipe's fields for one arm of one variant, and a note for each that the arm does not inherit."""
        if "recipe" in of_variant and "recipe" in of_arm:
            raise UsageError(f"{where}: variant and arm both name a recipe; leave one of them out")
        recipe = of_arm.get("recipe", of_variant.get("recipe", self._content.get("recipe")))
        fields_of = {
            "its recipe": {} if recipe is None else self._recipe(recipe, where),
            "settings": self.mapping("settings"),
            "the variant": {name: value for name, value in of_variant.items() if name != "recipe"},
            "the arm": {name: value for name, value in of_arm.items() if name != "recipe"},
        }
        for layer, fields in fields_of.items():
            for name, advice in _OWN_FIELDS.items():
                if name in fields and layer != "its recipe":
                    raise UsageError(f"{where}: {name} does not go into {layer}; {advice}")
        try:
            merged, notes = merged_layers([Layer(layer, fields) for layer, fields in fields_of.items()])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
        settings = {name: value for name, value in merged.items() if name not in _OWN_FIELDS and value is not None}
        return settings, [f"{where}: {note}" for note in notes]

    def _recipe(self, name: Any, where: str) -> dict[str, Any]:
        if not isinstance(name, str) or not name:
            raise UsageError(f"{where}: recipe={name!r} must be a path relative to {self.path.parent}")
        if name not in self._recipes:
            try:
                self._recipes[name] = read_settings(self.path.parent / name)
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from error
        return self._recipes[name]

    def _refused(self, name: str, value: Any, allowed: str) -> UsageError:
        return UsageError(f"{name}={value!r} in {self.path} must be {allowed}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
