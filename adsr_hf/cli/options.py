"""Options of commands that have few of them."""

import argparse
from pathlib import Path
from typing import Any

from adsr_hf.settings.errors import UsageError


class OptionParser(argparse.ArgumentParser):
    """argparse, whose mistakes become our own error."""

    def error(self, message: str) -> Any:
        raise UsageError(message)


def yes_or_no(text: str) -> bool:
    """``true`` or ``false``, as in a recipe."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} must be true or false")
    return text.lower() == "true"


def decision_parser(*, prog: str, description: str) -> OptionParser:
    """A parser of a command that changes what a folder serves, as a decision says."""
    parser = OptionParser(prog=prog, description=description)
    parser.add_argument("decision", type=Path, help="decision.json, as adsr gate wrote it")
    parser.add_argument("--to", type=Path, required=True, help="folder that the model is served from, or a link to it")
    return parser
