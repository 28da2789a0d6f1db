"""Flags of commands whose options are the fields of dataclasses: one conversion, one check of names."""

import argparse
import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from transformers import HfArgumentParser

from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.radius import Radius

# Fields that take a mapping: argparse hands on its text.
_MAPPINGS = ("model_config", "attack_schedule")


def parse_flags(kinds: Iterable[type], settings: Mapping[str, Any], flags: list[str], *, where: str = "") -> Any:
    """One object of each dataclass, from settings (as read from YAML or JSON) and flags, which win.

    Args:
        kinds: the dataclasses.
        settings: field names to values; they pass through the same conversion as flags.
        flags: ``--field value`` or ``--field=value``.
        where: what the settings were read from, for error messages.

    Raises:
        UsageError: for an unknown key, or a value that its field does not take.
        ValueError: for a value that is not allowed.
    """
    parser = flag_parser(kinds)
    known = _known(parser)
    for key in settings:
        check_known(key, known, where=where)
    _check_flags(flags, known)
    words = [word for key, value in settings.items() for word in _as_words(key, value)]
    return parser.parse_args_into_dataclasses([*words, *flags])


def given_flags(kinds: Iterable[type], flags: list[str]) -> dict[str, Any]:
    """The fields that flags set, converted.

    Raises:
        UsageError: for an unknown flag, or a value that its field does not take.
    """
    parser = flag_parser(kinds)
    _check_flags(flags, _known(parser))
    for action in parser._actions:
        action.default, action.required = argparse.SUPPRESS, False
    return vars(parser.parse_args(flags))


def _known(parser: argparse.ArgumentParser) -> set[str]:
    return {action.dest for action in parser._actions} - {"help"}


def _check_flags(flags: list[str], known: Collection[str]) -> None:
    for flag in flags:
        if flag.startswith("--"):
            check_known(flag[2:].split("=", 1)[0].removeprefix("no_"), known, where="the command line")


class _Parser(HfArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(message)


def flag_parser(kinds: Iterable[type]) -> HfArgumentParser:
    """The parser behind :func:`parse_flags`."""
    parser = _Parser(tuple(kinds), prog="adsr", allow_abbrev=False)
    for action in parser._actions:
        if action.type is Radius:
            action.type = _radius
        if action.dest in _MAPPINGS:
            action.type = str
    return parser


def _radius(text: str) -> Radius:
    """Radius for argparse, which would swallow the text of a plain ValueError."""
    try:
        return Radius(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check_known(key: str, known: Collection[str], *, where: str) -> None:
    """Refuse a name that does not exist.

    Raises:
        UsageError: with the nearest name that does.
    """
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else "; the command's --help lists the names"
        raise UsageError(f"unknown key {key!r} in {where}{hint}")


def _as_words(key: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"--{key}={json.dumps(value)}"]
    if isinstance(value, list):
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={value}"]
