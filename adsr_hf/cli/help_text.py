"""Help for commands whose options are the fields of a dataclass, without importing what those commands need."""

from collections.abc import Mapping
from dataclasses import MISSING, fields


def describe_fields(sections: Mapping[str, type]) -> list[str]:
    """Lines that give each field's name, default and help, section by section."""
    lines = []
    for title, section in sections.items():
        lines += ["", f"{title}:"]
        for item in fields(section):
            default = item.default if item.default is not MISSING else ""
            lines += [f"  {item.name} (default: {default})", f"      {item.metadata['help']}"]
    return lines
