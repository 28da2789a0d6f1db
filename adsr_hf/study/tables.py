"""The table of a study: for a terminal, as Markdown, and as CSV. Everything is read from what study.json holds."""

import csv
import io
from typing import Any

from adsr_hf.evaluation.figure_names import read_class_figure
from adsr_hf.measures.majority import majority_warning
from adsr_hf.records.sentences import worded
from adsr_hf.records.text_tables import as_markdown, as_text, quoted
from adsr_hf.study.results import RUN_FIGURES, WORST_CLASS, PlanWritten

Record = dict[str, Any]
TextTable = list[list[str]]

_MISSING = "–"
_PLAN_HEADINGS: dict[PlanWritten, str] = {
    "before results": "## Plan, written before any result was seen",
    "after results": "## Plan, changed after the first cells were run",
    "unknown": "## Plan",
}
# Filled where the difference would hold with other seeds too, hollow where these runs alone are tested.
_MARKS = {"better": ("▲", "△"), "worse": ("▼", "▽")}
_HOLDS = {
    "other runs": "",
    "other runs of the candidate": ", other seeds of this arm only",
    "other runs of the current model": ", other seeds of the baseline only",
    "these runs": ", these runs only",
}
_NAMES = {
    "accuracy": "clean accuracy",
    "Linf/expected_robustness": "expected robustness, Linf",
    "L2/expected_robustness": "expected robustness, L2",
    "ece": "ECE",
    "ece_after_temperature": "ECE, one temperature",
    "noise/accuracy": "accuracy under noise",
    "noise/flip_rate": "flip rate under noise",
    "noise/output_stability": "output stability",
    "best_robust_accuracy": "best validation robust",
    "last_robust_accuracy": "last validation robust",
    "best_to_last_gap": "best − last",
    "images_per_second": "train images/s",
}


def label(name: str, variant: Record) -> str:
    """What a figure is called over a column; the threat is named only where there are several."""
    if name in _NAMES:
        return _NAMES[name]
    of_class = read_class_figure(name, variant["threats"])
    if of_class is not None:
        return f"robust, {of_class[1]}" + (f", {of_class[0]}" if len(variant["threats"]) > 1 else "")
    threat = next(threat for threat in variant["threats"] if name.startswith(f"{threat}/"))
    attack, _, figure = name.removeprefix(f"{threat}/").rpartition("/")
    against = f", {threat}" if len(variant["threats"]) > 1 else ""
    if figure == "robust_ece":
        return f"ECE under attack{against}"
    if figure == f"robust_{WORST_CLASS}":
        return f"robust, worst class{against}"
    worst = not attack and len(variant["attacks"]) > 1
    return f"robust, {'worst of all' if worst else _first_attack(variant)}{against}"


def _first_attack(variant: Record) -> str:
    first = variant["attacks"][0]
    return f"{first['name'].upper()}-{first['num_steps']}" if first["name"] == "pgd" else str(first["name"])


def number(name: str, value: float) -> str:
    """A figure's value, in percent where it is a share."""
    return f"{value:.0f}" if name == "images_per_second" else f"{100 * value:.1f}"


def table(variant: Record) -> TextTable:
    """A heading, then an arm a row: mean ± standard deviation over seeds, and marks where the baseline differs."""
    rows = [["arm", "seeds", *(label(name, variant) for name in variant["figures"])]]
    for row in variant["rows"]:
        done, all_of_them = len(row["seeds"]), len(row["seeds"]) + len(row["unfinished_seeds"])
        seeds = str(done) if done == all_of_them else f"{done} of {all_of_them}"
        rows.append([row["name"], seeds, *(_cell(row, name) for name in variant["figures"])])
    return rows


def _cell(row: Record, name: str) -> str:
    figure = row["figures"].get(name)
    if figure is None:
        return _MISSING
    spread = "" if figure["spread"] is None else f" ± {number(name, figure['spread'])}"
    beside = f" ({figure['class']})" if "class" in figure else ""
    if "calibrated_level" in figure:
        beside = f" ({number(name, figure['calibrated_level'])})"
    tested = row["against_baseline"].get(figure.get("figure", name))
    return f"{number(name, figure['mean'])}{spread}{beside}{_mark(tested)}"


def _mark(tested: Record | None) -> str:
    if tested is None or tested["verdict"] not in _MARKS:
        return ""
    return f" {_MARKS[tested['verdict']][tested['scope'] != 'other runs']}"


def differences(variant: Record) -> TextTable:
    """A heading, then a row for each test against the baseline."""
    rows = [["arm", "figure", "change", "95% interval", "p (Holm)", "verdict"]]
    for row in variant["rows"]:
        if row["not_compared"]:
            rows.append([row["name"], *[_MISSING] * 4, f"not compared: {worded(row['not_compared'])}"])
        for name, tested in row["against_baseline"].items():
            of_class = read_class_figure(name, variant["threats"])
            if of_class is not None and tested["verdict"] == "no evidence":
                continue
            low, high = map(_signed, tested["interval"])
            change, p_value = _signed(tested["delta"]), f"{tested['adjusted_p_value']:.2g}"
            verdict = tested["verdict"] + (_HOLDS[tested["scope"]] if tested["verdict"] in _MARKS else "")
            rows.append([row["name"], label(name, variant), change, f"[{low}, {high}]", p_value, verdict])
    return rows


def marks_words(variant: Record, baseline: str) -> str:
    """What the marks of a table mean; of the hollow ones only where there may be some."""
    tests = [tested for row in variant["rows"] for tested in row["against_baseline"].values()]
    of_classes = sum(
        read_class_figure(name, variant["threats"]) is not None
        for row in variant["rows"]
        for name in row["against_baseline"]
    )
    family = f"the {len(tests) - of_classes} tests of this table"
    family += f" and the {of_classes} of single classes, each family by itself" if of_classes else ""
    words = [
        f"▲ better, ▼ worse than {baseline}, and would be with other seeds and other images: the paired interval over "
        f"images and seeds excludes 0 and p < 0.05 after Holm's correction over {family}; no mark means no evidence."
    ]
    if any(tested["scope"] != "other runs" for tested in tests):
        words.append(
            "△ better, ▽ worse on other images, but for these runs only: where an arm has one seed nothing is known "
            "of others."
        )
    words.append(
        "An ECE is this sample's, in brackets what chance alone makes of a calibrated model's; its change is that of "
        "the root mean squared gap between confidence and accuracy, without that bias."
    )
    return " ".join(words)


def _signed(share: float) -> str:
    """In points; a zero has no minus."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def as_terminal(record: Record) -> str:
    """The tables for a terminal."""
    parts = []
    for variant in record["variants"]:
        images = f"{variant['images']} test images, percent, mean ± standard deviation over seeds"
        parts.append("\n".join([f"{variant['name']}: {images}" if variant["name"] else images, ""]))
        parts[-1] += "\n" + as_text(table(variant))
        if variant["majority"] is not None:
            parts.append("\n".join([majority_words(variant), *majority_warnings(variant)]))
        if record["baseline"] and len(differences(variant)) > 1:
            parts.append(marks_words(variant, record["baseline"]))
    return "\n\n".join(parts + _unfinished(record))


def as_document(record: Record) -> str:
    """The tables as a Markdown file that says what was planned, what was measured, on what, and by which command."""
    parts = [f"# {record['title']}"]
    written: PlanWritten = record["plan_written"]
    if record["plan"] or written == "after results":
        parts += [_PLAN_HEADINGS[written], record["plan"] or "The study file holds no plan any more."]
    machine = f" Measured on {record['machine']}." if record["machine"] else ""
    parts.append(
        f"Regenerate: `{record['command']}`.{machine}\n"
        f"Percent, mean ± standard deviation over the seeds {', '.join(map(str, record['seeds']))}. Best, last and "
        "their gap: robust accuracy on validation images while training."
    )
    for variant in record["variants"]:
        parts += _variant_document(variant, record["baseline"])
    return "\n\n".join(parts + _unfinished(record)) + "\n"


def _variant_document(variant: Record, baseline: str | None) -> list[str]:
    parts = [f"## {variant['name']}" if variant["name"] else "## Results"]
    if not variant["figures"]:
        return [*parts, "No cell has finished."]
    warnings = [f"- {line}" for line in majority_warnings(variant)]
    parts += [f"{measured_words(variant)} {majority_words(variant)}", as_markdown(table(variant))]
    parts += ["\n".join(warnings)] if warnings else []
    tests = differences(variant)
    if baseline is None or len(tests) == 1:
        return parts
    return [
        *parts,
        marks_words(variant, baseline),
        f"### Against {baseline}, in points",
        as_markdown(tests),
    ]


def measured_words(variant: Record) -> str:
    """What stood against what."""
    attacks = [
        attack["name"] + (f" ({attack['num_steps']} steps × {attack['restarts']})" if "num_steps" in attack else "")
        for attack in variant["attacks"]
    ]
    against = f"; {', '.join(attacks)} against {', '.join(variant['threats'])}" if variant["threats"] else ""
    return f"{variant['images']} test images{against}."


def majority_words(variant: Record) -> str:
    """What a model reaches that knows nothing but the most frequent class."""
    majority = variant["majority"]
    return f"Always {quoted(majority['class'])}: {100 * majority['share']:.1f}, clean and under attack."


def majority_warnings(variant: Record) -> list[str]:
    """A line for each arm of which a seed is not shown to be above that."""
    majority = variant["majority"]
    return [
        majority_warning(
            majority["class"], majority["share"], row["majority_not_beaten"], of=f"a seed of {row['name']}"
        )
        for row in variant["rows"]
        if row["majority_not_beaten"]
    ]


def _unfinished(record: Record) -> list[str]:
    if not record["unfinished"]:
        return []
    lines = [
        f"- {cell['name']}: {cell['error'] or 'not run to its end'}" + (f" ({cell['log']})" if cell["error"] else "")
        for cell in record["unfinished"]
    ]
    return ["Not in the tables:\n\n" + "\n".join(lines)]


def as_csv(record: Record) -> str:
    """The tables of all variants as CSV, unrounded: shares in [0, 1], empty where nothing was measured."""
    names = list(dict.fromkeys(name for variant in record["variants"] for name in variant["figures"]))
    tested = [name for name in names if name not in RUN_FIGURES and not name.endswith(WORST_CLASS)]
    head = ["variant", "arm", "weights", "seeds", "unfinished_seeds"]
    head += [f"{name} {what}" for name in names for what in ("mean", "spread")]
    head += [f"{name} {what}" for name in tested for what in ("change", "low", "high", "p_holm", "verdict")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for variant in record["variants"]:
        for row in variant["rows"]:
            seeds = (" ".join(map(str, row[key])) for key in ("seeds", "unfinished_seeds"))
            figures = [row["figures"].get(name, {}).get(what) for name in names for what in ("mean", "spread")]
            tests = [value for name in tested for value in _tested(row["against_baseline"].get(name))]
            writer.writerow([variant["name"], row["name"], row["weights"], *seeds, *figures, *tests])
    return text.getvalue()


def _tested(entry: Record | None) -> list[Any]:
    if entry is None:
        return [None] * 5
    return [entry["delta"], *entry["interval"], entry["adjusted_p_value"], entry["verdict"]]
