"""Can the model's confidence be believed? Reliability diagrams, clean and under attack."""

from typing import Any

from adsr_hf.report.charts import reliability_chart
from adsr_hf.report.markup import Html, element, figure, grid, table
from adsr_hf.report.report_data import ReportData, ShownArm
from adsr_hf.report.wording import missing, number, recorded


def calibration(data: ReportData) -> Html:
    """A diagram for each arm and condition, and what one temperature would mend."""
    texts, threat = data.texts, data.threat
    conditions = ["clean"] if threat is None else ["clean", threat]
    charts = [_chart(arm, condition, data) for condition in conditions for arm in data.arms]
    parts = [
        element("h2", texts("calibration.title")),
        element("p", texts("calibration.intro")),
        grid([chart for chart in charts if chart is not None]),
    ]
    if threat is None:
        parts.append(missing(texts("attack.missing")))
    parts += [_published(arm, data) for arm in data.arms if _record(arm) is not None]
    parts += [element("p", _temperature(arm, data)) for arm in data.arms]
    return element("section", *parts)


def _chart(arm: ShownArm, condition: str, data: ReportData) -> Html | None:
    texts = data.texts
    bins = arm.summary["reliability"].get(condition)
    if bins is None:
        return None
    filled = [(bin_["confidence"], bin_["accuracy"], bin_["count"]) for bin_ in bins if bin_["count"]]
    named = texts("calibration.clean") if condition == "clean" else texts("calibration.attacked", threat=condition)
    name = arm.names[0]
    figures = arm.members[0].records.summary["figures"]
    error = figures["ece" if condition == "clean" else f"{condition}/robust_ece"]
    ece, level = (number("ece", error[key]) for key in ("value", "calibrated_level"))
    caption = texts("calibration.chart", name=name, condition=named, ece=ece, level=level)
    drawing = reliability_chart(
        filled,
        arm.style,
        description=texts("figure.described", title=texts("calibration.title"), caption=caption, names=name),
        x_label=texts("axis.confidence"),
        y_label=texts("axis.accuracy"),
    )
    return figure(drawing, caption)


def _record(arm: ShownArm) -> dict[str, Any] | None:
    """What the first run recorded about the calibration of the weights that were measured."""
    record: dict[str, Any] | None = (arm.members[0].run or {}).get("calibration")
    # A teacher that was measured beside a published student is as it was trained.
    return record if arm.summary["model"]["published"] else None


def _published(arm: ShownArm, data: ReportData) -> Html:
    """The temperature that is folded into the arm's head, with ECE before and after; or why there is none."""
    texts, record = data.texts, _record(arm)
    assert record is not None
    if "refused" in record:
        reason = recorded(record["refused"], texts)
        return element("p", texts("calibration.refused", name=arm.name), texts("sentence.space"), reason)
    described = texts(
        "calibration.published",
        name=arm.name,
        temperature=f"{record['temperature']:.2f}",
        images=f"{record['images']:,}",
        fitted_on=texts(f"calibration.fitted_on.{record['fitted_on']}", share=f"{100 * record['share']:.0f}%"),
    )
    rows = [
        [
            texts("calibration.row", split=texts(f"split.{split}"), condition=texts(f"calibration.condition.{name}")),
            number("ece", value),
            number("ece", record["after"][split][name]),
        ]
        for split, before in record["before"].items()
        for name, value in before.items()
    ]
    head = [texts(f"calibration.head.{column}") for column in ("figure", "before", "after")]
    return element("div", element("p", described), table(head, rows, label=texts("calibration.title")))


def _temperature(arm: ShownArm, data: ReportData) -> str:
    texts = data.texts
    fitted, after = arm.summary["temperature"], arm.value("ece_after_temperature")
    if fitted is None or after is None:
        return texts("calibration.no_temperature", name=arm.name)
    before = arm.value("ece")
    assert before is not None
    return texts(
        "calibration.temperature",
        name=arm.name,
        temperature=f"{fitted['value']:.2f}",
        images=f"{fitted['images']:,}",
        before=number("ece", before.value),
        after=number("ece", after.value),
    )
