"""``adsr evaluate CHECKPOINT [--threat ...] [--dataset ...]``."""

from itertools import pairwise

from adsr_hf.cli.help_text import describe_fields
from adsr_hf.cli.main import OK
from adsr_hf.settings.data import DataArguments, place_of
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.evaluation import EvaluateArguments

# What holds of a run's data settings for other data too.
_OF_ANY_DATASET = {"skip_broken_images", "max_image_pixels", "cache_gigabytes"}
_SECTIONS = {"evaluation": EvaluateArguments, "data (default: the run's own)": DataArguments}


def run(words: list[str]) -> int:
    """Measure a checkpoint and write summary.json and records.parquet."""
    if not words or words[0] in ("-h", "--help") or "--help" in words:
        print(_help())
        return OK
    if words[0].startswith("--"):
        raise UsageError("adsr evaluate needs a checkpoint first: a folder, or a Hub name")
    from adsr_hf.cli.evaluation_text import evaluation_text
    from adsr_hf.evaluation.checkpoint import (
        evaluate_checkpoint,
        recorded_data,
        recorded_threat,
        weights_to_measure,
    )
    from adsr_hf.evaluation.places import refuse_missing_model
    from adsr_hf.settings.flags import parse_flags

    checkpoint, flags = words[0], words[1:]
    refuse_missing_model(checkpoint)
    recorded = recorded_data(checkpoint)
    named = _named_dataset(flags)
    if named is not None and recorded and place_of(named) != place_of(recorded["dataset"]):
        # Its splits and columns are its own.
        recorded = {name: value for name, value in recorded.items() if name in _OF_ANY_DATASET}
    arguments, data = parse_flags((EvaluateArguments, DataArguments), recorded, flags)
    if not arguments.threat:
        arguments.threat = recorded_threat(checkpoint)
    from adsr_hf.records.machine import process_state

    def say(line: str) -> None:
        if process_state().is_main_process:
            print(line, flush=True)

    for weights in weights_to_measure(checkpoint, arguments.weights):
        records, folder = evaluate_checkpoint(checkpoint, data, arguments, weights=weights, announce=say)
        say(evaluation_text(records))
        say(f"records: {folder / 'records.parquet'}   summary: {folder / 'summary.json'}")
    return OK


def _named_dataset(flags: list[str]) -> str | None:
    """What follows ``--dataset``, before anything is parsed."""
    for flag, value in pairwise([*flags, None]):
        if flag == "--dataset":
            return value
        if flag is not None and flag.startswith("--dataset="):
            return flag.partition("=")[2]
    return None


def _help() -> str:
    lines = [
        "usage: adsr evaluate CHECKPOINT [--threat 'Linf 8/255' ...] [--field value ...]",
        "",
        "CHECKPOINT is a folder or a Hub name of any image classifier. A folder written by `adsr train` knows its",
        "data and its threat model; others need --dataset and --threat. --dataset takes any labelled images, with or",
        "without splits, whose classes the model knows by name. An image counts as robust only if it is right",
        "both clean and attacked; robust accuracy under PGD is an upper bound. Under accelerate launch the images are",
        "shared out over the processes; the records are the same.",
    ]
    return "\n".join(lines + describe_fields(_SECTIONS))
