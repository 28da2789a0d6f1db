"""Recipes: YAML files whose keys are the flags of ``adsr train``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adsr_hf.config import ADSRConfig
from adsr_hf.data import DataArguments
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.flags import flag_parser, given_flags, parse_flags
from adsr_hf.settings.model import ModelArguments
from adsr_hf.settings.selection import DIRECTION, FIGURE, Layer, merged_layers, refuse_unknown_figure

_KINDS = (ADSRConfig, DataArguments, ModelArguments)


@dataclass(frozen=True)
class Recipe:
    """A run, fully described: how to train, on what, and which network.

    Attributes:
        notes: a line for each setting of the file that the flags made void.
    """

    config: ADSRConfig
    data: DataArguments
    model: ModelArguments
    notes: tuple[str, ...] = ()


def load_recipe(path: Path | None, flags: list[str]) -> Recipe:
    """Read a recipe and the flags that override it.

    Args:
        path: a YAML file that maps field names to values, or None for flags alone.
        flags: ``--field value`` or ``--field=value``; they win over the file. A figure that chooses the best
            checkpoint and was written for another method than theirs does not stay
            (:func:`adsr_hf.settings.selection.merged_layers`).

    Raises:
        UsageError: for an unknown or repeated key, a value that its field does not take, or a method whose objective
            or labels the file would override.
        ValueError: for a value that is not allowed.
    """
    settings = read_settings(path) if path is not None else {}
    settings.setdefault("output_dir", f"runs/{path.stem}" if path is not None else "runs/run")
    layers = [Layer(str(path), settings), Layer("the command line", given_flags(_KINDS, flags))]
    merged, notes = merged_layers(layers)
    settings |= {name: merged[name] for name in (FIGURE, DIRECTION) if name in settings}
    return _recipe(settings, flags, notes, where=str(path))


def recipe_from_settings(settings: dict[str, Any]) -> Recipe:
    """A recipe from field names and values, converted and checked as if they were read from a file."""
    return _recipe(settings, [], [], where="the settings")


def _recipe(settings: dict[str, Any], flags: list[str], notes: list[str], *, where: str) -> Recipe:
    config, data, model = parse_flags(_KINDS, settings, flags, where=where)
    if config.metric_for_best_model is not None:
        refuse_unknown_figure(config.metric_for_best_model)
    return Recipe(config, data, model, tuple(notes))


def full_help() -> str:
    """Every field of a recipe with its help, TrainingArguments' own included."""
    return flag_parser(_KINDS).format_help()


def read_settings(
    path: Path, *, kind: str = "recipe", example: str = "recipes/digits/vit_adsr.yaml"
) -> dict[str, Any]:
    """A YAML file that maps field names to values, as it is written.

    Args:
        path: the file.
        kind: what the file is, for error messages.
        example: of such a file.

    Raises:
        UsageError: when it is missing, no such mapping, or gives a key twice.
    """
    if not path.is_file():
        raise UsageError(f"{kind} {path} does not exist; give a YAML file, such as {example}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{kind} {path} is not valid YAML: {error}") from error
    except UsageError as error:
        raise UsageError(f"{kind} {path}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{kind} {path} must map field names to values; see {example}")
    return content


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which plain YAML keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise UsageError(f"key {key!r} is given twice (line {node.start_mark.line + 1} and below); keep one")
        return super().construct_mapping(node, deep=deep)
