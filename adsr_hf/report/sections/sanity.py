"""Can the robust accuracy be believed? The verdicts of the sanity checks."""

from typing import Any

from adsr_hf.report.markup import Html, element, joined, table
from adsr_hf.report.sections.overview import sanity_name
from adsr_hf.report.subjects import Subject
from adsr_hf.report.wording import missing, recorded

_CSS = {"pass": "good", "fail": "bad", "not applicable": "muted"}


def sanity(subject: Subject) -> Html:
    """A row for each check, a column for each run."""
    texts = subject.texts
    parts = [element("h2", texts("checks.title"))]
    verdicts = [
        (name, {one["name"]: one for one in member.records.summary["sanity"]}) for _, name, member in subject.members
    ]
    measured = [(name, own) for name, own in verdicts if own]
    if measured:
        parts.append(element("p", texts("checks.intro")))
        checks = list(dict.fromkeys(check for _, own in measured for check in own))
        rows = [
            [sanity_name(check, subject), *(_cell(own.get(check), subject) for _, own in measured)] for check in checks
        ]
        head = [texts("checks.head"), *(name for name, _ in measured)]
        parts.append(element("div", table(head, rows, label=texts("checks.title")), css="wordy"))
    parts += [missing(texts("checks.missing", name=name)) for name, own in verdicts if not own]
    return element("section", *parts)


def _cell(verdict: dict[str, Any] | None, subject: Subject) -> Html:
    texts = subject.texts
    if verdict is None:
        return element("span", texts("missing.cell"), css="muted")
    outcome = verdict["outcome"]
    label = element("span", texts(f"outcome.{outcome}"), css=f"verdict {_CSS[outcome]}")
    return joined([label, Html("<br>"), recorded(verdict["words"], texts)])
