"""Recipes: YAML files and flags with the same names, the same conversion and the same checks."""

import argparse
import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from adsr_hf.cli.main import UsageError
from adsr_hf.config import ADSRConfig
from adsr_hf.data import DataArguments
from adsr_hf.method_arguments import Radius
from adsr_hf.model_arguments import ModelArguments


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A run, fully described: how to train, on what, and which network."""

    config: ADSRConfig
    data: DataArguments
    model: ModelArguments


def load_recipe(path: Path | None, flags: list[str]) -> Recipe:
    """Read a recipe and the flags that override it.

    Args:
        path: a YAML file that maps field names to values, or None for flags alone.
        flags: ``--field value`` or ``--field=value``; they win over the file.

    Raises:
        UsageError: for an unknown or repeated key, or a value that its field does not take.
        ValueError: for a value that is not allowed.
    """
    parser = _parser()
    known = {action.dest for action in parser._actions} - {"help"}
    settings = _read_yaml(path) if path is not None else {}
    for key in settings:
        _check_known(key, known, where=str(path))
    for flag in flags:
        if flag.startswith("--"):
            _check_known(flag[2:].split("=", 1)[0].removeprefix("no_"), known, where="the command line")
    settings.setdefault("output_dir", f"runs/{path.stem}" if path is not None else "runs/run")
    words = [word for key, value in settings.items() for word in _as_words(key, value)]
    config, data, model = parser.parse_args_into_dataclasses([*words, *flags])
    return Recipe(config, data, model)


class _Parser(HfArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(message)


def _parser() -> HfArgumentParser:
    parser = _Parser((ADSRConfig, DataArguments, ModelArguments), prog="adsr train", allow_abbrev=False)
    for action in parser._actions:
        if action.type is Radius:
            action.type = _radius
        if action.dest == "model_config":
            action.type = str
    return parser


def _radius(text: str) -> Radius:
    """Radius for argparse, which would swallow the text of a plain ValueError."""
    try:
        return Radius(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check_known(key: str, known: set[str], *, where: str) -> None:
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else "; `adsr train --help` lists the names"
        raise UsageError(f"unknown key {key!r} in {where}{hint}")


def _as_words(key: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"--{key}={json.dumps(value)}"]
    if isinstance(value, list):
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={value}"]


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which plain YAML keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise UsageError(f"key {key!r} is given twice (line {node.start_mark.line + 1} and below); keep one")
        return super().construct_mapping(node, deep=deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(
            f"recipe {path} does not exist; give the path of a YAML file, such as recipes/digits/vit_adsr.yaml"
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"recipe {path} is not valid YAML: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"recipe {path} must map field names to values, such as 'method: adsr'")
    return content


def full_help() -> str:
    """Every field of a recipe with its help, TrainingArguments' own included."""
    return _parser().format_help()
