"""Can the robust accuracy be believed? The verdicts of the sanity checks."""

from typing import Any

from adsr_hf.report.markup import Html, element, joined, table
from adsr_hf.report.report_data import ReportData
from adsr_hf.report.sections.overview import sanity_name
from adsr_hf.report.wording import missing, recorded

_CSS = {"pass": "good", "fail": "bad", "not applicable": "muted"}


def sanity(data: ReportData) -> Html:
    """A row for each check, a column for each run."""
    texts = data.texts
    parts = [element("h2", texts("checks.title"))]
    verdicts = [
        (name, {check["name"]: check for check in member.records.summary["sanity"]})
        for _, name, member in data.members
    ]
    measured = [(name, check) for name, check in verdicts if check]
    if measured:
        parts.append(element("p", texts("checks.intro")))
        checks = list(dict.fromkeys(name for _, results in measured for name in results))
        rows = [
            [sanity_name(check, data), *(_cell(results.get(check), data) for _, results in measured)]
            for check in checks
        ]
        head = [texts("checks.head"), *(name for name, _ in measured)]
        parts.append(element("div", table(head, rows, label=texts("checks.title")), css="wordy"))
    parts += [missing(texts("checks.missing", name=name)) for name, check in verdicts if not check]
    return element("section", *parts)


def _cell(verdict: dict[str, Any] | None, data: ReportData) -> Html:
    texts = data.texts
    if verdict is None:
        return element("span", texts("missing.cell"), css="muted")
    outcome = verdict["outcome"]
    label = element("span", texts(f"outcome.{outcome}"), css=f"verdict {_CSS[outcome]}")
    return joined([label, Html("<br>"), recorded(verdict["words"], texts)])
