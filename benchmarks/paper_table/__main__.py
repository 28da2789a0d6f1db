"""The paper's CIFAR-10 rows on one GPU: AT and ADR, with weight averaging and AWP, on ResNet-18 and on a small ViT.

    python -m benchmarks.paper_table --minutes 9

Start the same command again until it exits with 0; exit 3 means that its minutes are over and there is more to do. The
first command measures this machine's speed and fixes, before anything is trained, how many epochs fit into
``--total-minutes`` (plan.json). A command that is stopped, also by Ctrl-C, loses at most one batch of images.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adsr_hf.records.files import write_json
from benchmarks.measure import machine
from benchmarks.paper_table.plan import make_plan
from benchmarks.paper_table.settings import NETWORKS, ROWS, RUNS, SMOKE_SIZES, Sizes, run_settings
from benchmarks.paper_table.table import collect, markdown, verdicts
from benchmarks.paper_table.work import measure_part, measure_pgd, parts, test_images, train_run

DONE, MORE = 0, 3


def main(argv: list[str] | None = None) -> int:
    """Do as much as fits into ``--minutes``, and write the table of what is finished; 0 = all of it."""
    arguments = _parser().parse_args(argv)
    load_before = os.getloadavg()
    sizes = SMOKE_SIZES if arguments.smoke else Sizes()
    plan = make_plan(
        arguments.output_dir,
        networks=arguments.networks,
        runs=arguments.runs,
        total_minutes=arguments.total_minutes,
        data=arguments.data,
        test_data=arguments.test_data,
        sizes=sizes,
    )
    epochs = ", ".join(f"{network} {number}" for network, number in plan["epochs"].items())
    print(f"plan: epochs {epochs}; on {plan['device']}; {arguments.output_dir / 'plan.json'}", flush=True)
    code = DONE
    try:
        with _time_limit(60 * arguments.minutes):
            _work(arguments.output_dir, plan, sizes)
    except KeyboardInterrupt:
        code = MORE
        print("stopped; start the same command again to continue", flush=True)
    images = min(sizes.images, len(test_images(plan["test_data"])))
    found = collect(arguments.output_dir, plan, len(parts(images, sizes.part)))
    record = {
        "schema_version": 1,
        "benchmark": "paper_table",
        "machine": machine(load_before),
        "plan": plan,
        "settings": _all_settings(plan, sizes),
        **found,
        "verdicts": verdicts(found),
    }
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.results.with_suffix(".json"), record)
    arguments.results.with_suffix(".md").write_text(markdown(record), encoding="utf-8")
    print(markdown(record))
    return code


def _work(folder: Path, plan: dict[str, Any], sizes: Sizes) -> None:
    images = test_images(plan["test_data"])
    for network in plan["networks"]:
        for run in plan["runs"]:
            epochs = plan["epochs"][network]
            train_run(folder / network / run, network, run, epochs=epochs, data=plan["data"], sizes=sizes)
    rows = [
        (folder / network, row)
        for network in plan["networks"]
        for row, (run, _) in ROWS.items()
        if run in plan["runs"]
    ]
    for place, row in rows:
        measure_pgd(place, row, images, sizes)
    for number, positions in enumerate(parts(min(sizes.images, len(images)), sizes.part)):
        for place, row in rows:
            measure_part(place, row, images, number, positions, sizes)
        print(f"AutoAttack: every row has been measured on {positions.stop} images", flush=True)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Ctrl-C by itself after so many seconds: training then saves a checkpoint, and evaluation keeps what it has."""
    # A shell's background job ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    alarm = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        signal.signal(signal.SIGINT, before)


def _all_settings(plan: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    return {
        f"{network} {run}": run_settings(network, run, epochs=plan["epochs"][network], data=plan["data"], sizes=sizes)
        for network in plan["networks"]
        for run in plan["runs"]
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--minutes", type=_positive, default=1e6, help="for this command (default: no limit)")
    parser.add_argument("--total-minutes", type=_positive, default=30.0, help="for all commands together (30)")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="default: both")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS), help="default: all")
    parser.add_argument("--data", default="../shared/data/cifar10", help="to train on")
    parser.add_argument("--test-data", default="../shared/data/cifar10-small", help="whose test split is measured")
    parser.add_argument("--output-dir", type=Path, default=Path("runs/paper_table"), help="for runs and records")
    parser.add_argument("--results", type=Path, default=Path("docs/results/paper_table"), help="without .json and .md")
    parser.add_argument("--smoke", action="store_true", help="sizes too small to mean anything, to see that it runs")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of minutes") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number of minutes")
    return value


if __name__ == "__main__":
    sys.exit(main())
