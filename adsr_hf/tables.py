"""Tables of text, for a terminal and for Markdown. Imports nothing heavy."""

from collections.abc import Sequence
from statistics import mean, stdev

Rows = Sequence[Sequence[str]]


def mean_and_spread(values: Sequence[float], *, scale: float = 100.0, digits: int = 1) -> str:
    """``"71.2 ± 0.8"``: mean and standard deviation (divisor n − 1; 0 for one value), in percent unless told.

    Args:
        values: at least one.
    """
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{scale * mean(values):.{digits}f} ± {scale * spread:.{digits}f}"


def as_text(rows: Rows) -> str:
    """The table for a terminal: a heading, then rows, columns aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )


def as_markdown(rows: Rows) -> str:
    """The table for a README: a heading, then rows; a bar inside a cell is escaped."""
    head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
