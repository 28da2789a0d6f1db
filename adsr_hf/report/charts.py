"""The report's charts, each a panel of its own, so that the page can set them side by side or below one another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from adsr_hf.report.drawing import INK, Style, axes, svg

# Drawn for a telephone's width, and scaled up from there.
_WIDTH, _HEIGHT = 4.6, 3.1
_SMALL = (4.2, 1.9)
_FONT = 10.5


@dataclass(frozen=True)
class Mark:
    """A point of a line that is pointed out."""

    x: float
    y: float
    words: str
    above: bool


@dataclass(frozen=True)
class Line:
    """One series.

    Attributes:
        x, y: points, from left to right.
        low, high: ends of their intervals; empty where there are none.
        marks: points that are pointed out.
    """

    style: Style
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    marks: Sequence[Mark] = ()


def line_chart(
    lines: Sequence[Line],
    *,
    description: str,
    x_label: str,
    y_label: str,
    percent: bool = True,
    bounds: tuple[float, float] | None = None,
    ticks: Sequence[float] | None = None,
    vertical: tuple[float, str] | None = None,
    small: bool = False,
) -> str:
    """Lines with intervals and pointed-out points.

    Args:
        description: what a reader who cannot see it is told.
        percent: the values are shares, to be written in percent.
        bounds: of the vertical axis; left out, those of the data.
        ticks: of the horizontal axis.
        vertical: a place on the horizontal axis and what to write there.
        small: a panel among many.
    """
    width, height = _SMALL if small else (_WIDTH, _HEIGHT)
    with axes(width, height, font_size=_FONT) as (figure, axis):
        for line in lines:
            _draw(axis, line)
        axis.set(xlabel=x_label, ylabel=y_label)
        if bounds is not None:
            axis.set_ylim(*bounds)
        if ticks is not None:
            axis.set_xticks(ticks)
        if vertical is not None:
            axis.axvline(vertical[0], color=INK, linewidth=0.9, zorder=1)
            axis.annotate(
                vertical[1],
                (vertical[0], 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                annotation_clip=False,
            )
        if percent:
            _percent(axis.yaxis, axis_decimals(axis.get_yticks()))
        return svg(figure, description)


def reliability_chart(
    bins: Sequence[tuple[float, float, int]], style: Style, *, description: str, x_label: str, y_label: str
) -> str:
    """Accuracy against confidence.

    Args:
        bins: confidence, accuracy and count of each bin that holds an image.
    """
    with axes(_WIDTH, _HEIGHT, font_size=_FONT) as (figure, axis):
        draw_reliability(axis, bins, style)
        axis.set(xlabel=x_label, ylabel=y_label)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1])
            _percent(scale, 0)
        return svg(figure, description)


def draw_reliability(axis: Any, bins: Sequence[tuple[float, float, int]], style: Style) -> None:
    """Dots that grow with the count, beside the diagonal of perfect calibration."""
    total = sum(count for *_, count in bins)
    confidence, accuracy = [bin_[0] for bin_ in bins], [bin_[1] for bin_ in bins]
    sizes = [12 + 250 * count / total for *_, count in bins]
    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    axis.plot(confidence, accuracy, linestyle=style.line, color=style.color, linewidth=1)
    axis.scatter(confidence, accuracy, s=sizes, color=style.color, marker=style.marker, alpha=0.8)
    axis.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")


def _draw(axis: Any, line: Line) -> None:
    style = line.style
    dense = len(line.x) > 25
    axis.plot(
        line.x,
        line.y,
        linestyle=style.line,
        color=style.color,
        marker=style.marker,
        markersize=4.5,
        markevery=max(1, len(line.x) // 12) if dense else 1,
        linewidth=1.6,
    )
    if line.low:
        axis.fill_between(line.x, line.low, line.high, color=style.color, alpha=0.13, linewidth=0)
        # A single file of caps: a band alone is lost in greyscale where two overlap.
        axis.vlines(line.x, line.low, line.high, color=style.color, linewidth=1)
    for mark in line.marks:
        axis.plot([mark.x], [mark.y], "o", markersize=11, markerfacecolor="none", color=style.color)
        axis.annotate(
            mark.words,
            (mark.x, mark.y),
            xytext=(0, 9 if mark.above else -9),
            textcoords="offset points",
            ha="right",
            va="bottom" if mark.above else "top",
            color=style.color,
        )


def axis_decimals(ticks: Iterable[float]) -> int:
    """So many that no tick's label is rounded: steps of 2.5% would otherwise read 2, 5, 8, 10."""
    return 0 if all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in ticks) else 1


def _percent(axis: Any, decimals: int) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
