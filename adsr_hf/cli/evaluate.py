"""``adsr evaluate CHECKPOINT [--threat ...] [--dataset ...]``."""

from typing import TYPE_CHECKING

from adsr_hf.cli.help_text import describe_fields
from adsr_hf.cli.main import OK
from adsr_hf.data.arguments import DataArguments
from adsr_hf.errors import UsageError
from adsr_hf.evaluation.arguments import EvaluateArguments

if TYPE_CHECKING:
    from adsr_hf.evaluation.records import EvaluationRecords

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
    from adsr_hf.processes import process_state

    def say(line: str) -> None:
        if process_state().is_main_process:
            print(line, flush=True)

    for weights in ("student", "teacher") if arguments.weights == "both" else (arguments.weights,):
        records, folder = evaluate_checkpoint(checkpoint, data, arguments, weights=weights, announce=say)
        say(_table(records))
        say(f"records: {folder / 'records.parquet'}   summary: {folder / 'summary.json'}")
    return OK


def _table(records: "EvaluationRecords") -> str:
    figures = records.summary["figures"]
    rows = [("clean", figures["accuracy"], "")]
    rows += [(threat, figures[f"{threat}/robust_accuracy"], f"{threat}/robust_") for threat in records.threats]
    lines = [f"{'':<16}{'accuracy':>9}   {'95% interval':<16}{'ECE':>7}{'confidence':>12}"]
    for name, accuracy, prefix in rows:
        low, high = accuracy["interval"]
        ece, confidence = figures[f"{prefix}ece"]["value"], figures[f"{prefix}mean_confidence"]["value"]
        lines.append(
            f"{name:<16}{100 * accuracy['value']:>8.1f}%   {f'{100 * low:.1f} to {100 * high:.1f}':<16}"
            f"{100 * ece:>6.1f}%{100 * confidence:>11.1f}%"
        )
    if "noise/accuracy" in figures:
        lines.append(
            f"under noise: accuracy {100 * figures['noise/accuracy']['value']:.1f}%, flip rate "
            f"{100 * figures['noise/flip_rate']['value']:.1f}%, output stability "
            f"{100 * figures['noise/output_stability']['value']:.1f}%"
        )
    lines += [f"sanity: {one['outcome']:<14} {one['name']}: {one['words']}" for one in records.summary["sanity"]]
    return "\n".join(lines)


def _help() -> str:
    lines = [
        "usage: adsr evaluate CHECKPOINT [--threat 'Linf 8/255' ...] [--field value ...]",
        "",
        "CHECKPOINT is a folder or a Hub name of any image classifier. A folder written by `adsr train` knows its",
        "data and its threat model; others need --dataset and --threat. An image counts as robust only if it is right",
        "both clean and attacked; robust accuracy under PGD is an upper bound. Under accelerate launch the images are",
        "shared out over the processes; the records are the same.",
    ]
    return "\n".join(lines + describe_fields(_SECTIONS))
