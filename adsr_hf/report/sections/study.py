"""A study's tables: arms over seeds, and each against the baseline."""

from typing import Any

from adsr_hf.decision.deltas import higher_is_better
from adsr_hf.report.markup import Html, bullets, element, joined, table
from adsr_hf.report.sections.classes import condition_name
from adsr_hf.report.texts import Texts
from adsr_hf.report.wording import change, figure_name, missing, number, recorded

Record = dict[str, Any]

# Hollow where the difference holds for these runs only.
_MARKS = {"better": ("▲", "△", "good"), "worse": ("▼", "▽", "bad")}


def study(record: Record, texts: Texts) -> Html:
    """The plan, then for each variant its table and its tests, then what is not in them.

    Args:
        record: what study.json holds.
    """
    parts = [element("h2", texts("study.title", title=record["title"]))]
    written = record["plan_written"]
    if record["plan"] or written == "after results":
        parts += [element("h3", texts(f"study.plan.{written}"))]
        text = record["plan"] or texts("study.plan.removed")
        parts += [element("p", paragraph) for paragraph in text.split("\n\n")]
    origin = [texts("study.origin", command=record["command"])]
    if record["machine"]:
        origin.append(texts("study.machine", machine=record["machine"]))
    parts.append(element("p", texts("sentence.space").join(origin), css="note"))
    for variant in record["variants"]:
        parts += _variant(variant, record, texts)
    return element("section", *parts, *_unfinished(record, texts))


def _variant(variant: Record, record: Record, texts: Texts) -> list[Html]:
    title = variant["name"] or texts("study.results")
    heading = element("h3", title)
    if not variant["figures"]:
        return [heading, missing(texts("study.nothing"))]
    seeds = texts("list.comma").join(map(str, record["seeds"]))
    parts = [heading, element("p", texts("study.intro", images=f"{variant['images']:,}", seeds=seeds))]
    parts += _majority(variant, texts)
    head = [texts("study.head.arm"), texts("study.head.seeds")]
    head += [f"{_named(name, variant, texts)}" for name in variant["figures"]]
    rows = [
        [row["name"], _seeds(row, texts), *(_cell(row, name, texts) for name in variant["figures"])]
        for row in variant["rows"]
    ]
    parts.append(table(head, rows, label=title))
    if record["baseline"] is None:
        return [*parts, missing(texts("study.no_baseline"))]
    return [*parts, *_tests(variant, record["baseline"], texts)]


def _majority(variant: Record, texts: Texts) -> list[Html]:
    """The share of the most frequent class, and a warning for each arm that is not shown to be above it."""
    majority = variant["majority"]
    share = number("accuracy", majority["share"])
    lines = [element("p", texts("classes.majority", name=majority["class"], share=share))]
    for row in variant["rows"]:
        if row["majority_not_beaten"]:
            where = texts("list.comma").join(
                condition_name(condition, texts) for condition in row["majority_not_beaten"]
            )
            words = texts("classes.not_beaten", arm=row["name"], conditions=where, name=majority["class"])
            lines.append(element("p", element("strong", words, css="bad")))
    return lines


def _tests(variant: Record, baseline: str, texts: Texts) -> list[Html]:
    tested = [
        (row["name"], name, row["against_baseline"][name])
        for row in variant["rows"]
        for name in variant["figures"]
        if name in row["against_baseline"]
    ]
    refused = [
        joined([row["name"], texts("colon"), recorded(row["not_compared"], texts)])
        for row in variant["rows"]
        if row["not_compared"]
    ]
    parts = [element("p", texts("study.marks", baseline=baseline), css="note")]
    if tested:
        title = texts("study.against", baseline=baseline)
        head = [texts("study.head.arm")]
        head += [texts(f"comparison.head.{key}") for key in ("figure", "verdict", "change", "p")]
        rows = [[arm, *_test(name, delta, variant, texts)] for arm, name, delta in tested]
        parts += [element("h3", title), table(head, rows, label=title)]
    return parts + ([element("p", texts("comparison.not_compared")), bullets(refused)] if refused else [])


def _test(name: str, delta: Record, variant: Record, texts: Texts) -> list[str]:
    low, high = (change(name, end) for end in delta["interval"])
    css = _MARKS.get(delta["verdict"], ("", "", "muted"))[2]
    p_value = delta["adjusted_p_value"]
    return [
        _named(name, variant, texts),
        element("span", texts(f"comparison.verdict.{delta['verdict']}"), css=f"verdict {css}"),
        joined([change(name, delta["delta"]), element("small", Html("&nbsp; "), f"[{low}, {high}]", css="muted")]),
        "< 0.001" if p_value < 0.001 else f"{p_value:.3f}",
    ]


def _named(name: str, variant: Record, texts: Texts) -> str:
    return f"{figure_name(name, variant['threats'], texts)}\u00a0{'↑' if higher_is_better(name) else '↓'}"


def _seeds(row: Record, texts: Texts) -> str:
    done, missed = len(row["seeds"]), len(row["unfinished_seeds"])
    return texts("study.seeds_of", done=done, all=done + missed) if missed else str(done)


def _cell(row: Record, name: str, texts: Texts) -> Html:
    figure = row["figures"].get(name)
    if figure is None:
        return element("span", texts("missing.cell"), css="muted")
    parts: list[str] = [number(name, figure["mean"])]
    if figure["spread"] is not None:
        parts.append(element("small", f" ± {number(name, figure['spread'])}", css="muted"))
    if "calibrated_level" in figure:
        parts.append(element("small", f" ({number(name, figure['calibrated_level'])})", css="muted"))
    if "class" in figure:
        parts.append(element("small", f" {figure['class']}", css="muted"))
    tested = row["against_baseline"].get(figure.get("figure", name), {})
    if tested.get("verdict") in _MARKS:
        filled, hollow, css = _MARKS[tested["verdict"]]
        mark = filled if tested["scope"] == "other runs" else hollow
        parts.append(element("span", f" {mark}", css=f"verdict {css}"))
    return joined(parts)


def _unfinished(record: Record, texts: Texts) -> list[Html]:
    if not record["unfinished"]:
        return []
    lines = [
        joined([cell["name"], texts("colon"), element("q", cell["error"], lang="en")])
        if cell["error"]
        else joined([cell["name"], texts("colon"), texts("study.not_run")])
        for cell in record["unfinished"]
    ]
    return [element("p", texts("study.unfinished")), bullets(lines)]
