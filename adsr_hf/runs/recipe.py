"""Recipes: YAML files whose keys are the flags of ``adsr train``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adsr_hf.config import ADSRConfig
from adsr_hf.data import DataArguments
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.flags import flag_parser, given_flags, parse_flags
from adsr_hf.settings.model import ModelArguments
from adsr_hf.settings.presets import with_preset
from adsr_hf.settings.selection import DIRECTION, FIGURE, Layer, merged_layers, refuse_unknown_figure
from adsr_hf.settings.yaml_files import read_settings

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
    given = settings | given_flags(_KINDS, flags)
    try:
        beneath = {name: value for name, value in with_preset(given).items() if name not in given}
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    config, data, model = parse_flags(_KINDS, beneath | settings, flags, where=where)
    if config.metric_for_best_model is not None:
        refuse_unknown_figure(config.metric_for_best_model)
    return Recipe(config, data, model, tuple(notes))


def full_help() -> str:
    """Every field of a recipe with its help, TrainingArguments' own included."""
    return flag_parser(_KINDS).format_help()
