"""Options of commands that have few of them."""

import argparse
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
