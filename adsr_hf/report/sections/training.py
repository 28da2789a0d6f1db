"""How training went: robust overfitting at a glance, and what was annealed."""

from collections.abc import Mapping
from typing import Any

from adsr_hf.report.charts import Line, Mark, line_chart
from adsr_hf.report.markup import Html, element, figure, grid, table
from adsr_hf.report.report_data import ReportData, ShownArm
from adsr_hf.report.sections.legend import legend
from adsr_hf.report.wording import missing, number

_CURVES = {
    "robust": "eval_robust_accuracy",
    "teacher_robust": "eval_teacher_robust_accuracy",
    "clean": "eval_accuracy",
    "loss": "loss",
}
_SCHEDULES = ("temperature", "interpolation", "mean_lambda", "epsilon")


def training(subject: ReportData) -> Html:
    """Curves with best and last marked, the table of what was lost, then the schedules."""
    texts = subject.texts
    parts = [element("h2", texts("training.title"))]
    parts += [
        missing(texts("training.missing", name=name)) for _, name, member in subject.members if member.run is None
    ]
    curves = [chart for key in _CURVES if (chart := _curve(key, subject)) is not None]
    if curves:
        parts += [element("p", texts("training.intro")), legend(subject), grid(curves)]
        parts += [_overfitting(subject)]
    elif len(parts) == 1:
        parts.append(missing(texts("training.no_curves")))
    parts.append(element("h3", texts("schedules.title")))
    schedules = [chart for key in _SCHEDULES if (chart := _schedule(key, subject)) is not None]
    if schedules:
        parts += [element("p", texts("schedules.intro")), legend(subject), grid(schedules)]
    else:
        parts.append(missing(texts("schedules.missing")))
    return element("section", *parts)


def logged(run: Mapping[str, Any] | None, figure_key: str) -> list[tuple[float, float]]:
    """Steps and values of a logged figure, by ascending step."""
    if run is None:
        return []
    found = {float(entry["step"]): float(entry[figure_key]) for entry in run["log_history"] if figure_key in entry}
    return sorted(found.items())


def _curve(key: str, subject: ReportData) -> Html | None:
    texts = subject.texts
    words = len(subject.members) == 1
    lines = [
        Line(arm.style, *_columns(points), marks=_best_and_last(member.run, key, subject, words=words))
        for arm, _, member in subject.members
        if (points := logged(member.run, _CURVES[key]))
    ]
    if not lines:
        return None
    caption = texts(f"training.chart.{key}")
    drawing = line_chart(
        lines,
        description=_described(caption, subject),
        x_label=texts("axis.step"),
        y_label=texts("axis.loss" if key == "loss" else "axis.accuracy"),
        percent=key != "loss",
    )
    return figure(drawing, caption)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _best_and_last(run: Mapping[str, Any] | None, key: str, subject: ReportData, *, words: bool) -> list[Mark]:
    """Marks on the curves of robust accuracy; with words where there is room for them."""
    weights = {"robust": "student", "teacher_robust": "teacher"}.get(key)
    drop = (run or {}).get("robust_overfitting", {}).get(weights) if weights else None
    if drop is None:
        return []
    marks = []
    for name, above in (("best", True), ("last", False)):
        told = subject.texts(f"training.{name}", value=number("accuracy", drop[name])) if words else ""
        marks.append(Mark(drop[f"{name}_step"], drop[name], told, above))
    return marks


def _overfitting(subject: ReportData) -> Html:
    texts = subject.texts
    head = [texts(f"training.head.{key}") for key in ("run", "best", "last", "gap")]
    rows = []
    for _, name, member in subject.members:
        for weights, drop in ((member.run or {}).get("robust_overfitting") or {}).items():
            cells = [
                texts("training.at_step", value=number("accuracy", drop[key]), step=f"{drop[f'{key}_step']:,}")
                for key in ("best", "last")
            ]
            rows.append([f"{name} ({texts(f'weights.{weights}')})", *cells, f"{100 * drop['gap']:.1f}"])
    if not rows:
        return missing(texts("training.no_robust"))
    return table(head, rows, label=texts("training.title"))


def _schedule(key: str, subject: ReportData) -> Html | None:
    texts = subject.texts
    lines = [
        Line(arm.style, *_columns(points))
        for arm, _, member in subject.members
        if (points := logged(member.run, key)) and _is_annealed(arm, key)
    ]
    if not lines:
        return None
    caption = texts(f"schedules.{key}")
    drawing = line_chart(
        lines,
        description=_described(caption, subject),
        x_label=texts("axis.step"),
        y_label=texts(f"axis.{key}"),
        percent=False,
    )
    return figure(drawing, caption)


def _is_annealed(arm: ShownArm, key: str) -> bool:
    """The radius is a schedule only where it grows over the first epochs."""
    run = arm.members[0].run
    return key != "epsilon" or bool(run and run["config"].get("epsilon_ramp_epochs"))


def _described(caption: str, subject: ReportData) -> str:
    names = subject.texts("list.comma").join(arm.name for arm in subject.arms)
    return subject.texts("figure.described", title=subject.texts("training.title"), caption=caption, names=names)
