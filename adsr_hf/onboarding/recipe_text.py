"""A recipe as a person would have written it: headings, and above each setting why it has that value."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from adsr_hf.onboarding.choices import Choice
from adsr_hf.onboarding.photos import Photos

_WIDTH = 110


def recipe_text(photos: Photos, chosen: Mapping[str, Sequence[Choice]], path: Path, *, minutes: str) -> str:
    """The YAML of a recipe.

    Args:
        photos: what it is for.
        chosen: heading to choices.
        path: where it will be written, for the commands at its top.
        minutes: how long the run will take on this machine, in words.
    """
    name = shlex.quote(str(path))
    splits = ", ".join(f"{count:,} {split}" for split, count in photos.images.items())
    head = [
        f"{len(photos.counts)} classes of photos ({splits}) in {photos.place}. Written by adsr init; every value is "
        "a suggestion with its reason above it.",
        f"On this machine: {minutes}.",
        *([] if "test" in photos.images else [_NO_TEST]),
    ]
    commands = [
        f"  adsr train {name}                 # the robust model",
        f"  adsr train {name} --method clean --output_dir runs/{path.stem}_clean   # the baseline, same photos",
    ]
    parts = ["\n".join([_comment(line) for line in head] + [f"#{line}" for line in commands])]
    for heading, choices in chosen.items():
        parts.append("\n".join([f"# ---- {heading}", *(_setting(choice) for choice in choices)]))
    return "\n\n".join(parts) + "\n"


_NO_TEST = (
    "There is no test split: nothing will be measured on photos that played no part in training. Put a tenth of them "
    "into PHOTOS/test/CLASS/ and the rest into PHOTOS/train/CLASS/ before you decide anything by a figure."
)


def default_path(photos: str) -> Path:
    """A recipe in the working directory, named after the folder of photos."""
    return Path(f"{Path(photos).absolute().name}.yaml")


def settings_of(chosen: Mapping[str, Sequence[Choice]]) -> dict[str, Any]:
    """Field names to values."""
    return {choice.name: choice.value for choices in chosen.values() for choice in choices}


def _setting(choice: Choice) -> str:
    # On one line, whatever it is; what surrounds it is a list's.
    value = yaml.safe_dump([choice.value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return f"{_comment(choice.reason)}\n{choice.name}: {value.strip()[1:-1]}"


def _comment(text: str) -> str:
    # A class may be called anything; a line of its own would end the comment.
    lines = textwrap.wrap(" ".join(text.split()), _WIDTH, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)
