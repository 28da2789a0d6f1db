"""The top of the page: what a reader in a hurry needs, in plain words."""

from statistics import fmean

from adsr_hf.evaluation.figure_names import CLEAN, EXPECTED_ROBUSTNESS_FIGURES, class_figure, read_class_figure
from adsr_hf.report.markup import Html, bullets, element, joined
from adsr_hf.report.report_data import ReportData
from adsr_hf.report.sections.classes import condition_name, majority_lines, weakest_class, worse_classes
from adsr_hf.report.wording import change, css_of, figure_name, number, span, threat_words

# AutoAttack's, the field's standard; short of them robust accuracy is a loose upper bound.
STANDARD_ATTACKS = {"apgd-ce", "apgd-t", "fab-t", "square"}
_HEADLINES = ("accuracy", *EXPECTED_ROBUSTNESS_FIGURES, "robust_accuracy", "noise/accuracy", "noise/flip_rate", "ece")


def overview(data: ReportData) -> Html:
    """Tiles with the main figures, then sentences."""
    texts = data.texts
    lines = [*_measured(data), *majority_lines(data), *_classes(data)]
    lines += [_sanity(data), *_overfitting(data)]
    lines += [] if len(data.arms) == 2 else _other_conditions(data)
    parts = [element("h2", texts("overview.title")), _tiles(data)]
    if len(data.arms) == 2:
        parts.append(_verdicts(data))
    return element("section", *parts, bullets(lines), css="overview")


def headline_names(data: ReportData) -> list[str]:
    """Names of the figures that the page leads with."""
    threat = data.threat
    names = [f"{threat}/{name}" if name == "robust_accuracy" else name for name in _HEADLINES]
    return [name for name in names if threat is not None or "robust" not in name]


def _tiles(data: ReportData) -> Html:
    texts, first = data.texts, data.first
    tiles = []
    for name in headline_names(data):
        value = first.value(name)
        if value is None:
            continue
        parts = [
            element("span", figure_name(name, first.summary["threats"], texts), css="name"),
            element("b", number(name, value.value)),
            element("small", _range_words(data, span(name, value.low, value.high))),
        ]
        delta = data.comparison.delta(name) if data.comparison is not None else None
        if delta is not None:
            against = texts(f"overview.against.{delta.verdict}", current=number(name, delta.current))
            parts.append(element("span", against, css=f"verdict {css_of(delta)}"))
        tiles.append(element("div", *parts, css="tile"))
    return joined([element("p", texts("overview.tiles", name=first.name)), element("div", *tiles, css="tiles")])


def _range_words(data: ReportData, interval: str) -> str:
    several = len(data.first.members) > 1
    return data.texts("range.seeds" if several else "range.interval", interval=interval)


def _verdicts(data: ReportData) -> Html:
    """Which of the main figures the candidate makes better or worse."""
    texts = data.texts
    names = {"candidate": data.arms[0].name, "current": data.arms[1].name}
    if data.comparison is None:
        return element("p", texts("overview.not_comparable", **names), css="missing")
    found = [delta for name in headline_names(data) if (delta := data.comparison.delta(name)) is not None]
    sentences = [texts("overview.compared", **names)]
    for verdict in ("better", "worse", "no evidence"):
        found_verdicts = [
            texts(
                "overview.with_change",
                figure=figure_name(delta.name, data.first.summary["threats"], texts),
                change=change(delta.name, delta.delta),
            )
            for delta in found
            if delta.verdict == verdict
        ]
        if found_verdicts:
            sentences.append(texts(f"overview.{verdict}", figures=texts("list.comma").join(found_verdicts)))
    return element("p", texts("sentence.space").join(sentences), css="lead")


def _measured(data: ReportData) -> list[str]:
    texts, first, threat = data.texts, data.first, data.threat
    images = f"{first.summary['data']['images']:,}"
    accuracy, ece = first.value("accuracy"), first.value("ece")
    assert accuracy is not None
    assert ece is not None
    lines = [texts("overview.clean", images=images, accuracy=number("accuracy", accuracy.value))]
    robust = first.value(f"{threat}/robust_accuracy") if threat else None
    if threat is None or robust is None:
        lines.append(texts("overview.no_attack"))
    else:
        broken = number("accuracy", accuracy.value - robust.value)
        change_allowed, stands = threat_words(threat, texts), number("accuracy", robust.value)
        lines.append(texts("overview.robust", change=change_allowed, robust=stands, broken=broken))
    lines += [
        texts("overview.expected", share=number(name, expected.value), norm=name.partition("/")[0])
        for name in EXPECTED_ROBUSTNESS_FIGURES
        if (expected := first.value(name)) is not None
    ]
    level = fmean(member.records.summary["figures"]["ece"]["calibrated_level"] for member in first.members)
    lines.append(texts("overview.calibration", ece=f"{100 * ece.value:.1f}", level=f"{100 * level:.1f}"))
    noise, flips = first.value("noise/accuracy"), first.value("noise/flip_rate")
    if noise is None or flips is None:
        lines.append(texts("overview.no_noise"))
    else:
        lines.append(
            texts("overview.noise", accuracy=number("accuracy", noise.value), flips=number("flip_rate", flips.value))
        )
    return lines


def _other_conditions(data: ReportData) -> list[Html]:
    """A warning for each arm whose figures cannot stand beside the first one's."""
    first, images = data.first, f"{data.first.summary['data']['images']:,}"
    return [
        element(
            "strong",
            data.texts(
                "comparison.other_conditions",
                name=arm.name,
                first=first.name,
                images=f"{arm.summary['data']['images']:,}",
                first_images=images,
            ),
            css="bad",
        )
        for arm in data.arms
        if arm.name in data.refusals
    ]


def _classes(data: ReportData) -> list[Html]:
    """The weakest class of the first arm, and the classes for which it is worse than the current model."""
    texts, first, threat = data.texts, data.first, data.threat
    lines = []
    weakest = weakest_class(data)
    if threat is not None and weakest is not None:
        values = [first.value(class_figure(weakest, condition)) for condition in (CLEAN, threat)]
        clean, robust = ("–" if value is None else number("accuracy", value.value) for value in values)
        lines.append(element("span", texts("classes.worst", name=weakest, clean=clean, robust=robust)))
    worse = worse_classes(data)
    if worse:
        sentences = []
        for delta in worse:
            condition, name = read_class_figure(delta.name, first.summary["threats"]) or (CLEAN, delta.name)
            where = condition_name(condition, texts)
            sentences.append(
                texts("classes.worse_one", name=name, condition=where, change=change(delta.name, delta.delta))
            )
        words = texts("classes.worse", current=data.arms[1].name, classes=texts("list.comma").join(sentences))
        lines.append(element("strong", words, css="bad"))
    return lines


def _sanity(data: ReportData) -> Html:
    texts = data.texts
    verdicts = [check for member in data.first.members for check in member.records.summary["sanity"]]
    decided = [check for check in verdicts if check["outcome"] != "not applicable"]
    failed = [check["name"] for check in decided if check["outcome"] == "fail"]
    if not verdicts:
        return element("span", texts("overview.no_sanity"))
    if not decided:
        return element("span", texts("overview.sanity_undecided"))
    if not failed:
        attacks = {attack["name"] for attack in data.first.summary["attacks"]}
        key = "sanity_pass" if attacks >= STANDARD_ATTACKS else "sanity_pass_weak"
        return element("span", texts(f"overview.{key}", count=len(decided)))
    named = [sanity_name(name, data) for name in dict.fromkeys(failed)]
    words = texts(
        "overview.sanity_fail", failed=len(failed), count=len(decided), names=texts("list.comma").join(named)
    )
    return element("strong", words, css="bad")


def sanity_name(name: str, data: ReportData) -> str:
    """What people call a check; its own name where the page has none."""
    key = f"sanity.{name}"
    return data.texts(key) if key in data.texts else name


def _overfitting(data: ReportData) -> list[str]:
    drop = data.first.members[0].overfitting
    if drop is None:
        return []
    return [
        data.texts(
            "overview.overfitting",
            best=number("accuracy", drop["best"]),
            last=number("accuracy", drop["last"]),
            gap=f"{100 * drop['gap']:.1f}",
        )
    ]
