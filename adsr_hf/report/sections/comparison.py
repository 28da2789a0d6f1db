"""The A/B table: the candidate against the current model, figure by figure."""

from adsr_hf.decision.compare import Comparison, is_of_class
from adsr_hf.decision.deltas import Delta, higher_is_better
from adsr_hf.report.markup import Html, bullets, element, joined, table
from adsr_hf.report.report_data import ReportData, ShownArm
from adsr_hf.report.wording import change, css_of, figure_name, missing, number, recorded, with_interval


def comparison(data: ReportData) -> Html:
    """The first arm against each other one: differences with paired intervals and verdicts; or why there are none."""
    texts = data.texts
    title = element("h2", texts("comparison.title"))
    if len(data.arms) == 1:
        return element("section", title, missing(texts("comparison.one")))
    parts = [title]
    if len(data.arms) > 2:
        parts.append(element("p", texts("comparison.many", count=len(data.arms), first=data.first.name)))
    for other in data.arms[1:]:
        if len(data.arms) > 2:
            parts.append(element("h3", texts("comparison.pair", candidate=data.first.name, current=other.name)))
        if other.name in data.comparisons:
            parts += _compared(other, data.comparisons[other.name], data)
        else:
            reason = recorded(data.refusals[other.name], texts)
            parts.append(element("p", texts("comparison.refused"), " ", reason, css="missing"))
    return element("section", *parts)


def _compared(other: ShownArm, found: Comparison, data: ReportData) -> list[Html]:
    texts = data.texts
    head = [texts(f"comparison.head.{key}") for key in ("figure", "verdict", "change", "candidate", "current", "p")]
    rows = [_row(delta, other, data) for delta in found.deltas if not is_of_class(delta.name)]
    names = {"candidate": data.first.name, "current": other.name}
    return [
        element("p", texts("comparison.intro", images=f"{found.images:,}", **names)),
        table(head, rows, label=texts("comparison.title")),
        element("p", texts("comparison.reading"), " ", texts(f"comparison.scope.{found.scope}"), css="note"),
        *_not_compared(found, data),
    ]


def _row(delta: Delta, other: ShownArm, data: ReportData) -> list[str]:
    texts, arms = data.texts, (data.first, other)
    name = delta.name
    wanted = "↑" if higher_is_better(name) else "↓"
    values = [
        number(name, value) if arm.value(name) is None else with_interval(name, arm.value(name), texts)
        for arm, value in zip(arms, (delta.candidate, delta.current), strict=True)
    ]
    low, high = delta.interval
    interval = texts("comparison.no_interval") if low == high == delta.delta else _between(name, low, high)
    tested = delta.adjusted_p_value
    return [
        f"{figure_name(name, arms[0].summary['threats'], texts)}\u00a0{wanted}",
        element("span", _verdict(delta, data), css=f"verdict {css_of(delta)}"),
        joined([change(name, delta.delta), element("small", Html("&nbsp; "), interval, css="muted")]),
        *values,
        "–" if tested is None else _p_value(tested),
    ]


def _verdict(delta: Delta, data: ReportData) -> str:
    if delta.adjusted_p_value is None:
        return data.texts("comparison.untested")
    return data.texts(f"comparison.verdict.{delta.verdict}")


def _between(name: str, low: float, high: float) -> str:
    return f"[{change(name, low)}, {change(name, high)}]"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _not_compared(found: Comparison, data: ReportData) -> list[Html]:
    """What could not be compared, and why.

    Inference time has a section of its own, and under the last attack stands what stands under all of them.
    """
    texts, threats = data.texts, data.arms[0].summary["threats"]
    last = f"/{data.arms[0].members[0].records.attacks[-1]}/robust_accuracy" if threats else None
    lines = [
        joined([figure_name(name, threats, texts), texts("colon"), recorded(reason, texts)])
        for name, reason in found.not_compared.items()
        if name != "latency_ratio" and not (last and name.endswith(last))
    ]
    return [element("p", texts("comparison.not_compared")), bullets(lines)] if lines else []
