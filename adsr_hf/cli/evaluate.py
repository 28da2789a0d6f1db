"""``adsr evaluate CHECKPOINT [--threat ...] [--dataset ...]``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adsr_hf.cli.help_text import describe_fields
from adsr_hf.cli.main import OK
from adsr_hf.data.arguments import DataArguments
from adsr_hf.errors import UsageError
from adsr_hf.evaluation.arguments import EvaluateArguments

if TYPE_CHECKING:
    from adsr_hf.evaluation.suite import Evaluation

_SECTIONS = {"evaluation": EvaluateArguments, "data (default: the run's own)": DataArguments}


def run(words: list[str]) -> int:
    """Measure a checkpoint and write summary.json and records.parquet."""
    if not words or words[0] in ("-h", "--help") or "--help" in words:
        print(_help())
        return OK
    if words[0].startswith("--"):
        raise UsageError("adsr evaluate needs a checkpoint first: a folder, or a Hub name")
    from adsr_hf.evaluation.checkpoint import evaluate_checkpoint, recorded_data, recorded_threat
    from adsr_hf.flags import parse_flags

    checkpoint, flags = words[0], words[1:]
    arguments, data = parse_flags((EvaluateArguments, DataArguments), recorded_data(checkpoint), flags)
    if not arguments.threat:
        arguments.threat = recorded_threat(checkpoint)
    folder = Path(arguments.output_dir or Path(checkpoint) / "evaluation")
    evaluation = evaluate_checkpoint(checkpoint, data, arguments, announce=lambda line: print(line, flush=True))
    evaluation.write(folder)
    print(_table(evaluation))
    print(f"records: {folder / 'records.parquet'}   summary: {folder / 'summary.json'}")
    return OK


def _table(evaluation: "Evaluation") -> str:
    summary = evaluation.summary()
    rows = [("clean", summary["clean"])] + [(entry["threat"], entry) for entry in summary["attacked"]]
    lines = [f"{'':<16}{'accuracy':>9}   {'95% interval':<16}{'ECE':>7}{'confidence':>12}"]
    lines += [f"{name:<16}{_percent(figures)}" for name, figures in rows]
    return "\n".join(lines)


def _percent(figures: dict[str, Any]) -> str:
    low, high = figures["accuracy_interval"]
    return (
        f"{100 * figures['accuracy']:>8.1f}%   {f'{100 * low:.1f} to {100 * high:.1f}':<16}"
        f"{100 * figures['ece']:>6.1f}%{100 * figures['mean_confidence']:>11.1f}%"
    )


def _help() -> str:
    lines = [
        "usage: adsr evaluate CHECKPOINT [--threat 'Linf 8/255' ...] [--field value ...]",
        "",
        "CHECKPOINT is a folder or a Hub name of any image classifier. A folder written by `adsr train` knows its",
        "data and its threat model; others need --dataset and --threat. An image counts as robust only if it is right",
        "both clean and attacked; robust accuracy under PGD is an upper bound.",
    ]
    return "\n".join(lines + describe_fields(_SECTIONS))
