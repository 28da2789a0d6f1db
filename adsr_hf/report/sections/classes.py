"""Class by class: what an average hides, what is read as what, and what the most frequent class alone would give."""

from adsr_hf.decision.deltas import Delta
from adsr_hf.evaluation.classes import confusion_matrix, majority_of
from adsr_hf.evaluation.figure_names import CLEAN, attacked_name, class_figure
from adsr_hf.report.markup import Html, element, grid, joined, table
from adsr_hf.report.report_data import ReportData, ShownArm, Value
from adsr_hf.report.texts import Texts
from adsr_hf.report.wording import change, css_of, missing, number, with_interval

# Of more classes only the worst of the first arm are shown; the records hold all.
_SHOWN_CLASSES = 20
# More do not fit a telephone.
_CONFUSION_CLASSES = 12


def classes(data: ReportData) -> Html:
    """Accuracy of every class clean and attacked with its verdict, error rates of two, confusion matrices."""
    texts = data.texts
    names = _worst_first(data)
    shown = names[:_SHOWN_CLASSES]
    parts = [
        element("h2", texts("classes.title")),
        element("p", texts("classes.intro")),
        *(element("p", line) for line in majority_lines(data)),
        *(_table(condition, shown, data) for condition in shown_conditions(data)),
    ]
    if len(names) > len(shown):
        parts.append(element("p", texts("classes.more", shown=len(shown), count=len(names)), css="note"))
    parts += _error_rates(data)
    return element("section", *parts, *_confusions(data))


def shown_conditions(data: ReportData) -> list[str]:
    """Clean, and the threat that the page leads with."""
    return [CLEAN] if data.threat is None else [CLEAN, data.threat]


def condition_name(condition: str, texts: Texts) -> str:
    """``"clean images"``, or a threat."""
    return texts("calibration.clean") if condition == CLEAN else texts("calibration.attacked", threat=condition)


def majority_lines(data: ReportData) -> list[Html]:
    """The share of the most frequent class, and a warning for every arm that is not shown to be better than that."""
    texts = data.texts
    majority = majority_of(data.first.members[0].records)
    lines = [
        element("span", texts("classes.majority", name=majority["class"], share=number("", majority["share"]))),
    ]
    for arm in data.arms:
        beaten = [majority_of(member.records)["beaten"] for member in arm.members]
        failed = [
            condition
            for condition in shown_conditions(data)
            if not all(conditions.get(condition, True) for conditions in beaten)
        ]
        if failed:
            where = texts("list.comma").join(condition_name(condition, texts) for condition in failed)
            words = texts("classes.not_beaten", arm=arm.name, conditions=where, name=majority["class"])
            lines.append(element("strong", words, css="bad"))
    return lines


def worse_classes(data: ReportData) -> list[Delta]:
    """Class accuracies, clean and under the page's threat, in which the candidate is worse than the current model."""
    if data.comparison is None:
        return []
    found = [
        data.comparison.delta(class_figure(name, condition))
        for condition in shown_conditions(data)
        for name in data.first.summary["model"]["class_names"]
    ]
    return [delta for delta in found if delta is not None and delta.verdict == "worse"]


def weakest_class(data: ReportData) -> str | None:
    """The class of the first arm with the lowest accuracy, clean or attacked."""
    return next(iter(_worst_first(data)), None)


def _worst_first(data: ReportData) -> list[str]:
    """Classes with an image, the worst of the first arm first."""
    conditions = shown_conditions(data)
    lowest: dict[str, tuple[float, float]] = {}
    for name in data.first.summary["model"]["class_names"]:
        values = [data.first.value(class_figure(name, condition)) for condition in conditions]
        there = [value.value for value in values if value is not None]
        if there:
            lowest[name] = min(there), there[0]
    return sorted(lowest, key=lambda name: lowest[name])


def _table(condition: str, names: list[str], data: ReportData) -> Html:
    texts = data.texts
    compared = data.comparison is not None
    head = [texts("classes.head.class"), texts("classes.head.images")]
    head += [texts("comparison.head.verdict"), texts("comparison.head.change")] if compared else []
    head += [arm.name for arm in data.arms]
    title = condition_name(condition, data.texts)
    rows = [_row(name, condition, data) for name in names]
    return joined([element("h3", texts("classes.table", condition=title)), table(head, rows, label=title)])


def _row(name: str, condition: str, data: ReportData) -> list[str]:
    figure_of_class = class_figure(name, condition)
    entry = data.first.summary["figures"][figure_of_class]
    cells: list[str] = [name, f"{entry['images']:,}"]
    if data.comparison is not None:
        cells += _verdict(data.comparison.delta(figure_of_class), data)
    return [*cells, *(with_interval("accuracy", arm.value(figure_of_class), data.texts) for arm in data.arms)]


def _verdict(delta: Delta | None, data: ReportData) -> list[str]:
    if delta is None:
        return ["–", "–"]
    low, high = (change(delta.name, end) for end in delta.interval)
    return [
        element("span", data.texts(f"comparison.verdict.{delta.verdict}"), css=f"verdict {css_of(delta)}"),
        joined([change(delta.name, delta.delta), element("small", Html("&nbsp; "), f"[{low}, {high}]", css="muted")]),
    ]


def _error_rates(data: ReportData) -> list[Html]:
    """Of two classes, how often each is read as the other; called missed and false alarm where one is positive."""
    texts, names = data.texts, data.first.summary["model"]["class_names"]
    if len(names) != 2:
        return []
    positive = data.first.summary["positive_class"]
    rows = []
    for condition in shown_conditions(data):
        for name, other in (names, names[::-1]):
            values = [_complement(arm.value(class_figure(name, condition))) for arm in data.arms]
            if any(value is None for value in values):
                continue
            key = "classes.read_as" if positive is None else "classes.missed"
            if positive is not None and name != positive:
                key = "classes.false_alarm"
            words = texts(key, name=name, other=other, condition=condition_name(condition, data.texts))
            rows.append([words, *(with_interval("accuracy", value, texts) for value in values)])
    head = [texts("classes.head.errors"), *(arm.name for arm in data.arms)]
    return [element("h3", texts("classes.errors")), table(head, rows, label=texts("classes.errors"))]


def _complement(value: Value | None) -> Value | None:
    return None if value is None else Value(1 - value.value, 1 - value.high, 1 - value.low)


def _confusions(data: ReportData) -> list[Html]:
    texts, names = data.texts, data.first.summary["model"]["class_names"]
    title = element("h3", texts("classes.confusion"))
    if len(names) > _CONFUSION_CLASSES:
        return [title, missing(texts("classes.confusion_missing", count=len(names)))]
    tables = [
        element("div", element("p", _confusion_caption(arm, condition, data)), _confusion(arm, condition, data))
        for arm in data.arms
        for condition in shown_conditions(data)
        if condition == CLEAN or condition in arm.members[0].records.threats
    ]
    return [title, element("p", texts("classes.confusion_reading"), css="note"), grid(tables)]


def _confusion_caption(arm: ShownArm, condition: str, data: ReportData) -> str:
    accuracy = arm.members[0].records.figure(attacked_name("accuracy", condition))
    return data.texts(
        "classes.confusion_caption",
        name=arm.names[0],
        condition=condition_name(condition, data.texts),
        accuracy=number("accuracy", accuracy),
    )


def _confusion(arm: ShownArm, condition: str, data: ReportData) -> Html:
    names = arm.summary["model"]["class_names"]
    counts = confusion_matrix(arm.members[0].records, condition).tolist()
    rows = [
        [
            name,
            *(
                element("b", f"{count:,}") if row == column else f"{count:,}"
                for column, count in enumerate(row_counts)
            ),
        ]
        for row, (name, row_counts) in enumerate(zip(names, counts, strict=True))
    ]
    return table([data.texts("classes.head.confusion"), *names], rows, label=data.texts("classes.confusion"))
