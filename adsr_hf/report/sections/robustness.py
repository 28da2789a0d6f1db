"""Accuracy under attack and under noise: every figure in a table, and the curves."""

from adsr_hf.attacks import ThreatModel
from adsr_hf.report.charts import Line, line_chart
from adsr_hf.report.markup import Html, element, figure, grid, table
from adsr_hf.report.report_data import ReportData, ShownArm, Value, trained_threat
from adsr_hf.report.sections.legend import legend
from adsr_hf.report.texts import Texts
from adsr_hf.report.wording import figure_name, missing, with_interval

_CLEAN = ("accuracy", "mean_confidence", "ece", "ece_after_temperature", "ece_equal_mass", "classwise_ece")
_CLEAN_LOSSES = ("brier_score", "negative_log_likelihood")
_ATTACKED = ("robust_ece", "robust_mean_confidence", "robust_brier_score", "robust_negative_log_likelihood")
# Of the vertical axis of accuracy under noise: a point or two shall not look like a fall.
_LEAST_SPAN = 0.2
_NOISE = ("noise/accuracy", "noise/flip_rate", "noise/output_stability")


def figures_table(data: ReportData) -> Html:
    """Every figure of every arm with its interval."""
    texts = data.texts
    names = [*_CLEAN, *_CLEAN_LOSSES]
    threats = list(dict.fromkeys(threat for arm in data.arms for threat in arm.summary["threats"]))
    for threat in threats:
        attacks = list(dict.fromkeys(attack["name"] for arm in data.arms for attack in arm.summary["attacks"]))
        names += [f"{threat}/robust_accuracy", *(f"{threat}/{attack}/robust_accuracy" for attack in attacks)]
        names += [f"{threat}/{name}" for name in _ATTACKED]
    names += _NOISE
    rows = [
        [figure_name(name, threats, texts), *(with_interval(name, arm.value(name), texts) for arm in data.arms)]
        for name in names
    ]
    return element(
        "section",
        element("h2", texts("figures.title")),
        element("p", texts("figures.intro")),
        table([texts("figures.head"), *(arm.name for arm in data.arms)], rows, label=texts("figures.title")),
    )


def attack_curves(data: ReportData) -> Html:
    """Accuracy against the attacker's radius, one chart for each norm."""
    texts = data.texts
    norms = list(dict.fromkeys(_norm(threat) for arm in data.arms for threat in arm.summary["threats"]))
    title = element("h2", texts("attack.title"))
    if not norms:
        return element("section", title, missing(texts("attack.missing")))
    charts = [_attack_chart(norm, data) for norm in norms]
    parts = [title, element("p", texts("attack.intro")), legend(data), grid(charts)]
    if all(len(arm.summary["threats"]) == 1 for arm in data.arms):
        parts.append(missing(texts("attack.one_radius")))
    return element("section", *parts)


def _norm(threat: str) -> str:
    return ThreatModel.parse(threat).norm


def _attack_chart(norm: str, data: ReportData) -> Html:
    texts = data.texts
    # Linf radii are read as grey levels of an 8-bit image.
    unit = 255 if norm == "Linf" else 1
    lines = []
    for arm in data.arms:
        radii_and_threats = sorted(
            (ThreatModel.parse(threat).epsilon * unit, threat) for threat in arm.summary["threats"]
        )
        points = [(0.0, arm.value("accuracy"))]
        points += [
            (radius, arm.value(f"{threat}/robust_accuracy"))
            for radius, threat in radii_and_threats
            if _norm(threat) == norm
        ]
        lines.append(_line(arm, points))
    trained = trained_threat(data.first.members[0])
    marked = None
    if trained is not None and _norm(trained) == norm:
        marked = (ThreatModel.parse(trained).epsilon * unit, texts("attack.trained_against"))
    caption = texts("attack.chart", norm=texts(f"norm.{norm}"))
    drawing = line_chart(
        lines,
        description=_described(caption, data, "attack.title"),
        x_label=texts(f"attack.axis.{norm}"),
        y_label=texts("axis.accuracy"),
        bounds=(0, 1.02),
        vertical=marked,
    )
    return figure(drawing, caption)


def noise_curves(data: ReportData) -> Html:
    """Accuracy and changed decisions against severity: the mean over kinds first, then kind by kind."""
    texts = data.texts
    title = element("h2", texts("noise.title"))
    measured = [name for arm in data.arms for name in arm.summary["figures"] if name.startswith("noise/")]
    kinds = list(dict.fromkeys(name.split("/")[1] for name in measured if name.count("/") == 3))
    severities = sorted({int(name.split("/")[2]) for name in measured if name.count("/") == 3})
    if not kinds:
        return element("section", title, missing(texts("noise.missing")))
    bounds = _noise_bounds(data)
    means = [
        _noise_chart(texts("noise.mean_accuracy"), "accuracy", kinds, severities, data, bounds=bounds, small=False),
        _noise_chart(texts("noise.mean_flip_rate"), "flip_rate", kinds, severities, data, bounds=None, small=False),
    ]
    small = [
        _noise_chart(noise_name(kind, texts), "accuracy", [kind], severities, data, bounds=bounds, small=True)
        for kind in kinds
    ]
    unmeasured = [arm.name for arm in data.arms if arm.value("noise/accuracy") is None]
    return element(
        "section",
        title,
        element("p", texts("noise.intro", kinds=len(kinds))),
        *(missing(texts("noise.missing_arm", name=name)) for name in unmeasured),
        legend(data),
        grid(means),
        element("h3", texts("noise.by_kind")),
        grid(small, small=True),
    )


def noise_name(kind: str, texts: Texts) -> str:
    """What people call a kind of noise; its own name where the page has none."""
    key = f"noise.kind.{kind}"
    return texts(key) if key in texts else kind


def _noise_bounds(data: ReportData) -> tuple[float, float]:
    """One vertical axis for all panels of accuracy, as wide as what is on them: on 0–100% they would look flat."""
    values = [
        value
        for arm in data.arms
        for name in arm.summary["figures"]
        if name == "accuracy" or (name.startswith("noise/") and name.endswith("/accuracy"))
        if (value := arm.value(name)) is not None
    ]
    low, high = min(value.low for value in values), max(value.high for value in values)
    centre, half = (low + high) / 2, max((high - low) / 2, _LEAST_SPAN / 2) * 1.05
    return max(0.0, centre - half), min(1.02, centre + half)


def _noise_chart(
    caption: str,
    name: str,
    kinds: list[str],
    severities: list[int],
    data: ReportData,
    *,
    bounds: tuple[float, float] | None,
    small: bool,
) -> Html:
    lines = []
    for arm in data.arms:
        origin = arm.value("accuracy") if name == "accuracy" else Value(0.0, 0.0, 0.0)
        points: list[tuple[float, Value | None]] = [(0.0, origin)]
        for severity in severities:
            found = [arm.value(f"noise/{kind}/{severity}/{name}") for kind in kinds]
            points.append((float(severity), _mean([entry for entry in found if entry is not None])))
        lines.append(_line(arm, points if any(value for _, value in points[1:]) else []))
    texts = data.texts
    drawing = line_chart(
        lines,
        description=_described(caption, data, "noise.title"),
        x_label=texts("noise.axis"),
        y_label=texts(f"axis.{name}"),
        bounds=bounds,
        ticks=[0, *severities],
        small=small,
    )
    return figure(drawing, caption)


def _mean(values: list[Value]) -> Value | None:
    """One value as it is; of several the mean, without an interval, since they share their images."""
    if not values:
        return None
    mean = sum(value.value for value in values) / len(values)
    return values[0] if len(values) == 1 else Value(mean, mean, mean)


def _line(arm: ShownArm, points: list[tuple[float, Value | None]]) -> Line:
    there = [(x, value) for x, value in points if value is not None]
    return Line(
        arm.style,
        [x for x, _ in there],
        [value.value for _, value in there],
        [value.low for _, value in there],
        [value.high for _, value in there],
    )


def _described(caption: str, data: ReportData, key: str) -> str:
    names = data.texts("list.comma").join(arm.name for arm in data.arms)
    return data.texts("figure.described", title=data.texts(key), caption=caption, names=names)
