"""Tables of text, for a terminal and for Markdown. Imports nothing heavy."""

import unicodedata
from collections.abc import Sequence
from statistics import mean, stdev

TextTable = Sequence[Sequence[str]]

_NAME_LENGTH = 32


def mean_and_spread(values: Sequence[float], *, scale: float = 100.0, digits: int = 1) -> str:
    """``"71.2 ± 0.8"``: mean and standard deviation (divisor n − 1; 0 for one value), in percent unless told.

    Args:
        values: at least one.
    """
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{scale * mean(values):.{digits}f} ± {scale * spread:.{digits}f}"


def as_text(rows: TextTable) -> str:
    """The table for a terminal: a heading, then rows, columns aligned."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        gaps = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [row[0] + gaps[0], *(gap + cell for cell, gap in zip(row[1:], gaps[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def quoted(name: str) -> str:
    """A name from outside in quotes, without what a terminal would obey, and cut where it is long."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return f"'{printable}'" if len(printable) <= _NAME_LENGTH else f"'{printable[: _NAME_LENGTH - 1]}…'"


def _width(text: str) -> int:
    """Columns that a terminal takes for it: Chinese and Japanese letters take two, accents that combine none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def as_markdown(rows: TextTable) -> str:
    """The table for a README: a heading, then rows; a bar inside a cell is escaped."""
    head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
