"""How training went: robust overfitting at a glance, and what was annealed."""

from collections.abc import Mapping
from typing import Any

from adsr_hf.report.charts import Line, Mark, line_chart
from adsr_hf.report.markup import Html, bullets, element, figure, grid, table
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


def training(data: ReportData) -> Html:
    """Curves with best and last marked, the table of what was lost, then the schedules."""
    texts = data.texts
    parts = [element("h2", texts("training.title"))]
    parts += [missing(texts("training.missing", name=name)) for _, name, member in data.members if member.run is None]
    parts += _warnings(data)
    curves = [chart for key in _CURVES if (chart := _curve(key, data)) is not None]
    if curves:
        parts += [element("p", texts("training.intro")), legend(data), grid(curves)]
        parts += [_overfitting(data)]
    elif all(member.run is not None for _, _, member in data.members):
        parts.append(missing(texts("training.no_curves")))
    parts.append(element("h3", texts("schedules.title")))
    schedules = [chart for key in _SCHEDULES if (chart := _schedule(key, data)) is not None]
    if schedules:
        parts += [element("p", texts("schedules.intro")), legend(data), grid(schedules)]
    else:
        parts.append(missing(texts("schedules.missing")))
    return element("section", *parts)


def _warnings(data: ReportData) -> list[Html]:
    """What a run said about itself while it trained."""
    texts = data.texts
    said = [
        texts("sentence.space").join(
            [
                texts("training.warning", name=name, step=warning["step"]),
                texts(
                    f"training.warning.{warning['kind']}",
                    accuracy=number("accuracy", warning["accuracy"]),
                    reference=number("accuracy", warning["reference"]),
                ),
            ]
        )
        for _, name, member in data.members
        for warning in (member.run or {}).get("warnings", [])
    ]
    return [bullets(said)] if said else []


def logged(run: Mapping[str, Any] | None, figure_key: str) -> list[tuple[float, float]]:
    """Steps and values of a logged figure, by ascending step."""
    if run is None:
        return []
    found = {float(entry["step"]): float(entry[figure_key]) for entry in run["log_history"] if figure_key in entry}
    return sorted(found.items())


def _curve(key: str, data: ReportData) -> Html | None:
    texts = data.texts
    words = len(data.members) == 1
    lines = [
        Line(arm.style, *_columns(points), marks=_best_and_last(member.run, key, data, words=words))
        for arm, _, member in data.members
        if (points := logged(member.run, _CURVES[key]))
    ]
    if not lines:
        return None
    caption = texts(f"training.chart.{key}")
    drawing = line_chart(
        lines,
        description=_described(caption, data),
        x_label=texts("axis.step"),
        y_label=texts("axis.loss" if key == "loss" else "axis.accuracy"),
        percent=key != "loss",
    )
    return figure(drawing, caption)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _best_and_last(run: Mapping[str, Any] | None, key: str, data: ReportData, *, words: bool) -> list[Mark]:
    """Marks on the curves of robust accuracy; with words where there is room for them."""
    weights = {"robust": "student", "teacher_robust": "teacher"}.get(key)
    drop = (run or {}).get("robust_overfitting", {}).get(weights) if weights else None
    if drop is None:
        return []
    marks = []
    for name, above in (("best", True), ("last", False)):
        wording = data.texts(f"training.{name}", value=number("accuracy", drop[name])) if words else ""
        marks.append(Mark(drop[f"{name}_step"], drop[name], wording, above))
    return marks


def _overfitting(data: ReportData) -> Html:
    texts = data.texts
    head = [texts(f"training.head.{key}") for key in ("run", "best", "last", "gap")]
    rows = []
    for _, name, member in data.members:
        for weights, drop in ((member.run or {}).get("robust_overfitting") or {}).items():
            cells = [
                texts("training.at_step", value=number("accuracy", drop[key]), step=f"{drop[f'{key}_step']:,}")
                for key in ("best", "last")
            ]
            rows.append([f"{name} ({texts(f'weights.{weights}')})", *cells, f"{100 * drop['gap']:.1f}"])
    if not rows:
        return missing(texts("training.no_robust"))
    return table(head, rows, label=texts("training.title"))


def _schedule(key: str, data: ReportData) -> Html | None:
    texts = data.texts
    lines = [
        Line(arm.style, *_columns(points))
        for arm, _, member in data.members
        if (points := logged(member.run, key)) and _is_annealed(arm, key)
    ]
    if not lines:
        return None
    caption = texts(f"schedules.{key}")
    drawing = line_chart(
        lines,
        description=_described(caption, data),
        x_label=texts("axis.step"),
        y_label=texts(f"axis.{key}"),
        percent=False,
    )
    return figure(drawing, caption)


def _is_annealed(arm: ShownArm, key: str) -> bool:
    """The radius is a schedule only where it grows over the first epochs."""
    run = arm.members[0].run
    return key != "epsilon" or bool(run and run["config"].get("epsilon_ramp_epochs"))


def _described(caption: str, data: ReportData) -> str:
    names = data.texts("list.comma").join(arm.name for arm in data.arms)
    return data.texts("figure.described", title=data.texts("training.title"), caption=caption, names=names)
