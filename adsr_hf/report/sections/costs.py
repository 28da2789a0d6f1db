"""What it cost to train, and what it costs to use."""

from collections.abc import Callable
from typing import Any

from adsr_hf.decision.arms import Member
from adsr_hf.report.markup import Html, element, table
from adsr_hf.report.report_data import ReportData


def costs(data: ReportData) -> Html:
    """A column for each run."""
    texts = data.texts
    missing = texts("missing.record")
    readers: dict[str, Callable[[Member], str | None]] = {
        "training": lambda member: _number(_training(member, "train_runtime"), 0),
        "throughput": lambda member: _number(member.images_per_second, 0),
        "latency": _latency,
        "evaluation": lambda member: _number(member.records.summary["seconds"], 0),
        "parameters": lambda member: f"{member.records.summary['model']['parameters']:,}",
        "devices": lambda member: str(member.records.summary["devices"]),
        "machine": lambda member: str(member.records.summary["machine"]),
    }
    rows = [
        [texts(f"costs.{key}"), *(read(member) or missing for _, _, member in data.members)]
        for key, read in readers.items()
    ]
    return element(
        "section",
        element("h2", texts("costs.title")),
        table(["", *(name for _, name, _ in data.members)], rows, label=texts("costs.title")),
        element("p", texts("costs.note"), css="note"),
    )


def _training(member: Member, name: str) -> Any:
    return (member.run or {}).get("training", {}).get(name)


def _latency(member: Member) -> str | None:
    latency = member.records.summary.get("latency")
    return None if latency is None else f"{latency['milliseconds_per_image']:.3f} ({latency['batch_size']})"


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:,.{digits}f}"
