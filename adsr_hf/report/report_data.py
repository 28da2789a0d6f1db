"""What a page shows: arms of one or several runs, each with a name and a style, and what they measured."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from adsr_hf.attacks import ThreatModel
from adsr_hf.decision.arms import Arm, DifferentConditionsError, Member, check_same_conditions, read_arm
from adsr_hf.decision.compare import Comparison, compare, corrected
from adsr_hf.records.sentences import Sentence
from adsr_hf.report.drawing import STYLES, Style
from adsr_hf.report.texts import Texts

_EVALUATION_FOLDERS = ("evaluation", "evaluation-teacher")


@dataclass(frozen=True)
class Value:
    """A figure with what it may stand beside: its 95% interval (one run), or the range over seeds (several)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ShownArm:
    """One arm of the page.

    Attributes:
        name: short and, on its page, unique.
        names: of its members, in order.
        style: of its lines.
    """

    arm: Arm
    name: str
    names: tuple[str, ...]
    style: Style

    @property
    def members(self) -> tuple[Member, ...]:
        """Its runs."""
        return self.arm.members

    @property
    def summary(self) -> dict[str, Any]:
        """Of its first run; the others measured the same."""
        return self.members[0].records.summary

    def value(self, name: str) -> Value | None:
        """A figure of the records; None where not every member measured it."""
        found = [member.records.summary["figures"].get(name) for member in self.members]
        entries = [entry for entry in found if entry is not None]
        if len(entries) < len(found):
            return None
        values = [float(entry["value"]) for entry in entries]
        low, high = entries[0]["interval"] if len(entries) == 1 else (min(values), max(values))
        return Value(fmean(values), float(low), float(high))


@dataclass(frozen=True)
class ReportData:
    """All that a page is about.

    Attributes:
        arms: the first is the candidate.
        comparisons: of the first arm with each other one by its name; p-values are corrected over all of them.
        refusals: why an arm cannot be compared with the first, by its name.
    """

    texts: Texts
    arms: tuple[ShownArm, ...]
    comparisons: dict[str, Comparison]
    refusals: dict[str, Sentence]

    @property
    def comparison(self) -> Comparison | None:
        """The A/B test, where there are two arms that can be compared."""
        return self.comparisons.get(self.arms[1].name) if len(self.arms) == 2 else None

    @property
    def first(self) -> ShownArm:
        """The candidate, or the only arm."""
        return self.arms[0]

    @property
    def threat(self) -> str | None:
        """The threat model that the page leads with: the trained one if it was measured, else the first measured."""
        measured = self.first.members[0].records.threats
        trained = trained_threat(self.first.members[0])
        return trained if trained in measured else (measured[0] if measured else None)

    @property
    def members(self) -> list[tuple[ShownArm, str, Member]]:
        """Every run with its arm and its name."""
        return [(arm, name, member) for arm in self.arms for name, member in zip(arm.names, arm.members, strict=True)]


def read_report_data(runs: Sequence[str], texts: Texts) -> ReportData:
    """Read everything that is on record.

    Args:
        runs: run folders or evaluation folders; several seeds of one arm are joined by commas.

    Raises:
        ValueError: for no run, or more arms than can be told apart.
        RecordsError: where a folder holds no records, or damaged ones.
    """
    if not 1 <= len(runs) <= len(STYLES):
        raise ValueError(f"{len(runs)} runs were given; a report shows 1 to {len(STYLES)}, seeds joined by commas")
    arms = [read_arm(run.split(",")) for run in runs]
    names = _unique([[_name(member) for member in arm.members] for arm in arms])
    shown = tuple(
        ShownArm(arm, _arm_name(name, texts), name, style)
        for arm, name, style in zip(arms, names, STYLES, strict=False)
    )
    return ReportData(texts, shown, *_compared(shown))


def _compared(arms: Sequence[ShownArm]) -> tuple[dict[str, Comparison], dict[str, Sentence]]:
    """Comparisons of the first arm with each other one, corrected together, and reasons where there can be none."""
    found: dict[str, Comparison] = {}
    refusals: dict[str, Sentence] = {}
    for other in arms[1:]:
        try:
            check_same_conditions(arms[0].members[0], other.members[0])
            found[other.name] = compare(arms[0].arm, other.arm, latency=False)
        except DifferentConditionsError as error:
            refusals[other.name] = error.reason
    deltas = iter(corrected([delta for entry in found.values() for delta in entry.deltas]))
    together = {
        name: replace(entry, deltas=tuple(itertools.islice(deltas, len(entry.deltas))))
        for name, entry in found.items()
    }
    return together, refusals


def trained_threat(member: Member) -> str | None:
    """The threat model of the training attack; None for a clean run, or where no record of training is there."""
    if member.run is None or member.run["config"].get("method") == "clean":
        return None
    return str(ThreatModel.parse(f"{member.run['config']['norm']} {member.run['config']['epsilon']}"))


def evaluation_folder(member: Member) -> Path:
    """Where the member's records lie."""
    inside = member.folder / "evaluation"
    return member.folder if (member.folder / "summary.json").is_file() else inside


def _name(member: Member) -> list[str]:
    """Parts of the path that name a run, outermost first."""
    parts = [part for part in member.folder.absolute().parts if part not in _EVALUATION_FOLDERS and part != "/"]
    model = member.records.summary["model"]
    return [*parts[:-1], parts[-1] if model["published"] else f"{parts[-1]} ({model['weights']})"]


def _unique(arms: list[list[list[str]]]) -> list[tuple[str, ...]]:
    """The shortest ends of the paths that tell all runs apart; the same run twice is numbered."""
    every = [parts for arm in arms for parts in arm]
    deepest = max(len(parts) for parts in every)
    length = next(
        (length for length in range(1, deepest) if len({tuple(path[-length:]) for path in every}) == len(every)), 1
    )
    names = ["/".join(parts[-length:]) for parts in every]
    numbered = [
        f"{name} #{names[: place + 1].count(name)}" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]
    rest = iter(numbered)
    return [tuple(next(rest) for _ in arm) for arm in arms]


def _arm_name(names: tuple[str, ...], texts: Texts) -> str:
    return names[0] if len(names) == 1 else texts("arm.several", first=names[0], runs=len(names))
