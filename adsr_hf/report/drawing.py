"""How figures are drawn: SVG whose text stays text and whose colours follow the page, in print and in the dark."""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import Any

# How the names of a drawing's parts begin, as a regular expression.
NAMES = "f[0-9a-f]{10}"

# Drawn in this grey, which then gives way to the colour of the text around the figure.
INK = "#808080"


@dataclass(frozen=True)
class Style:
    """How one series is drawn; line and marker tell series apart without colour.

    Attributes:
        color: of Okabe & Ito's palette; a page may replace it by setting ``--series-N``, N from 1.
        line: a matplotlib line style.
        marker: a matplotlib marker.
    """

    color: str
    line: Any
    marker: str


STYLES = (
    Style("#0072b2", "-", "o"),
    Style("#d55e00", "--", "s"),
    Style("#009e73", "-.", "^"),
    Style("#cc79a7", ":", "D"),
    Style("#e69f00", (0, (7, 2, 1, 2, 1, 2)), "v"),
    Style("#56b4e9", (0, (10, 2)), "P"),
)

_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "adsr_hf",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.25,
}


def check_drawable() -> None:
    """Refuse to begin what would end in figures that cannot be drawn.

    Raises:
        ImportError: where matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ImportError("figures need matplotlib; install it with: pip install 'adsr_hf[report]'")


@contextmanager
def axes(width: float = 5.0, height: float = 3.4, columns: int = 1, font_size: float = 9) -> Iterator[tuple[Any, Any]]:
    """A matplotlib figure and its axes in the house style, sizes in inches of 72 units.

    Raises:
        ImportError: where matplotlib is not installed.
    """
    check_drawable()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({**_SETTINGS, "font.size": font_size}), warnings.catch_warnings():
        # The reader's browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure, drawn = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained")
        try:
            yield figure, drawn
        finally:
            pyplot.close(figure)


def svg(figure: Any, description: str | None = None) -> str:
    """An ``<svg>`` element to be put into a page.

    Args:
        description: what a reader who cannot see it is told.
    """
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # It would hold for the whole page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = _own_names(text).replace(INK, "currentColor")
    for number, style in enumerate(STYLES, start=1):
        text = text.replace(style.color, f"var(--series-{number}, {style.color})")
    role = 'aria-hidden="true"' if description is None else f'role="img" aria-label="{escape(description)}"'
    return text.replace("<svg ", f'<svg {role} style="stroke-linejoin: round" ', 1)


def swatch(style: Style) -> str:
    """A short piece of a series' line with its marker, for a legend in the page."""
    with axes(0.5, 0.17) as (figure, axis):
        axis.axis("off")
        axis.set(xlim=(0, 2), ylim=(-1, 1))
        axis.plot([0, 2], [0, 0], linestyle=style.line, color=style.color, linewidth=1.8)
        axis.plot([1], [0], marker=style.marker, color=style.color, markersize=5)
        return svg(figure)


def _own_names(text: str) -> str:
    """Drop names that nothing refers to, and make the others the figure's own: one page holds many figures."""
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text))
    names = {first or second for first, second in used}
    prefix = "f" + hashlib.sha256(text.encode()).hexdigest()[:10]

    def renamed(match: re.Match[str]) -> str:
        return f' id="{prefix}-{match[1]}"' if match[1] in names else ""

    text = re.sub(r' id="([^"]+)"', renamed, text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
