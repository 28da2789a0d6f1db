"""Vector figures as SVG text: readable in greyscale and by colour-blind readers, on light and dark pages."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from adsr_hf.evaluation.calibration import ReliabilityBin


@dataclass(frozen=True)
class Style:
    """How one arm is drawn; line style and marker tell arms apart without colour (palette: Okabe & Ito)."""

    color: str
    line: str
    marker: str


STYLES = (Style("#d55e00", ":", "s"), Style("#0072b2", "--", "^"), Style("#009e73", "-", "o"))

# Grey that reads on white and on near-black alike.
_INK = "#808080"


@contextmanager
def _axes(width: float = 5.0, height: float = 3.4, columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """Matplotlib axes in the house style; refuses clearly where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'adsr-hf[demo]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = {
        "svg.fonttype": "path",
        "svg.hashsalt": "adsr_hf",
        "font.size": 9,
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "axes.grid": True,
        "grid.color": _INK,
        "grid.alpha": 0.25,
    }
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained")
        try:
            yield figure, axes
        finally:
            pyplot.close(figure)


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def accuracy_against_epsilon(
    curves: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]], trained_epsilon: float
) -> str:
    """Mean accuracy of each arm against the attacker's radius, with the range over seeds.

    Args:
        curves: arm's name to radii and, for each radius, one accuracy for each seed, in [0, 1].
        trained_epsilon: marked by a vertical line.
    """
    with _axes() as (figure, axes):
        axes.axvline(trained_epsilon, color=_INK, linewidth=0.8)
        axes.annotate("trained against", (trained_epsilon, 1.02), ha="center", fontsize=8, annotation_clip=False)
        for style, (name, (radii, accuracies)) in zip(STYLES, curves.items(), strict=True):
            means = [sum(values) / len(values) for values in accuracies]
            axes.plot(radii, means, style.line, color=style.color, marker=style.marker, label=name)
            axes.fill_between(
                radii, [min(v) for v in accuracies], [max(v) for v in accuracies], color=style.color, alpha=0.15
            )
        axes.set(xlabel="attacker's radius (Linf, in [0, 1] pixels)", ylabel="accuracy", ylim=(0, 1.0))
        axes.legend(loc="lower left")
        return _svg(figure)


def reliability_diagram(bins: Mapping[str, Sequence[ReliabilityBin]]) -> str:
    """Accuracy against confidence, one panel an arm; the diagonal is perfect calibration, dots grow with the count."""
    with _axes(width=7.5, height=2.9, columns=len(bins)) as (figure, axes):
        for axis, style, (name, entries) in zip(axes, STYLES, bins.items(), strict=True):
            filled = [entry for entry in entries if entry.count]
            total = sum(entry.count for entry in filled)
            axis.plot([0, 1], [0, 1], color=_INK, linewidth=0.8)
            axis.plot(
                [entry.confidence for entry in filled],
                [entry.accuracy for entry in filled],
                style.line,
                color=style.color,
                linewidth=1,
            )
            axis.scatter(
                [entry.confidence for entry in filled],
                [entry.accuracy for entry in filled],
                s=[12 + 250 * entry.count / total for entry in filled],
                color=style.color,
                marker=style.marker,
                alpha=0.8,
            )
            axis.set(title=name, xlabel="confidence", xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        axes[0].set_ylabel("accuracy")
        return _svg(figure)


def training_curves(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> str:
    """Panels of values against optimizer steps: panel title to line name to (steps, values)."""
    with _axes(width=7.5, height=2.9, columns=len(panels)) as (figure, axes):
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for style, (name, (steps, values)) in zip(STYLES, lines.items(), strict=False):
                axis.plot(steps, values, style.line, color=style.color, label=name, linewidth=1.5)
            axis.set(title=title, xlabel="optimizer step")
            axis.legend(fontsize=8)
        return _svg(figure)
