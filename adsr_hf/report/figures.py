"""The demo's figures: readable in greyscale and by colour-blind readers, on light and dark pages."""

from collections.abc import Mapping, Sequence

from adsr_hf.measures.calibration import ReliabilityBin
from adsr_hf.report.charts import draw_reliability
from adsr_hf.report.drawing import INK, STYLES, Style, axes, svg

_ARMS = (Style(STYLES[1].color, ":", "s"), Style(STYLES[0].color, "--", "^"), Style(STYLES[2].color, "-", "o"))


def accuracy_against_epsilon(
    curves: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]], trained_epsilon: float
) -> str:
    """Mean accuracy of each arm against the attacker's radius, with the range over seeds.

    Args:
        curves: arm's name to radii and, for each radius, one accuracy for each seed, in [0, 1].
        trained_epsilon: marked by a vertical line.
    """
    with axes() as (figure, axis):
        axis.axvline(trained_epsilon, color=INK, linewidth=0.8)
        axis.annotate("trained against", (trained_epsilon, 1.02), ha="center", fontsize=8, annotation_clip=False)
        for style, (name, (radii, accuracies)) in zip(_ARMS, curves.items(), strict=True):
            means = [sum(values) / len(values) for values in accuracies]
            axis.plot(radii, means, linestyle=style.line, color=style.color, marker=style.marker, label=name)
            axis.fill_between(
                radii, [min(v) for v in accuracies], [max(v) for v in accuracies], color=style.color, alpha=0.15
            )
        axis.set(xlabel="attacker's radius (Linf, in [0, 1] pixels)", ylabel="accuracy", ylim=(0, 1.0))
        axis.legend(loc="lower left")
        return svg(figure, "Accuracy against the attacker's radius")


def reliability_diagram(bins: Mapping[str, Sequence[ReliabilityBin]]) -> str:
    """Accuracy against confidence, one panel an arm; the diagonal is perfect calibration, dots grow with the count."""
    with axes(width=7.5, height=2.9, columns=len(bins)) as (figure, panels):
        for axis, style, (name, entries) in zip(panels, _ARMS, bins.items(), strict=True):
            filled = [entry for entry in entries if entry.count]
            draw_reliability(axis, [(entry.confidence, entry.accuracy, entry.count) for entry in filled], style)
            axis.set(title=name, xlabel="confidence")
        panels[0].set_ylabel("accuracy")
        return svg(figure, "Accuracy against confidence")


def training_curves(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> str:
    """Panels of values against optimizer steps: panel title to line name to (steps, values)."""
    with axes(width=7.5, height=2.9, columns=len(panels)) as (figure, drawn):
        for axis, (title, lines) in zip(drawn, panels.items(), strict=True):
            for style, (name, (steps, values)) in zip(_ARMS, lines.items(), strict=False):
                axis.plot(steps, values, linestyle=style.line, color=style.color, label=name, linewidth=1.5)
            axis.set(title=title, xlabel="optimizer step")
            axis.legend(fontsize=8)
        return svg(figure, ", ".join(panels))
