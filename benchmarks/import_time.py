"""How long a user waits before anything happens: ``adsr --help``, and ``import adsr_hf`` over an empty interpreter."""

import argparse
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Report, Spread, Target, argument_parser, interleaved, paired_ratio, run

EMPTY, IMPORT, HELP = "empty interpreter", "import adsr_hf", "adsr --help"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    return run(benchmark, argument_parser(__doc__, repeats=20).parse_args(argv))


def benchmark(arguments: argparse.Namespace) -> Report:
    """Fresh processes in turn, after one of each that leaves compiled modules and a warm file cache behind.

    Raises:
        FileNotFoundError: when this interpreter's environment has no ``adsr`` command.
    """
    tasks = {
        EMPTY: partial(_start, [sys.executable, "-c", "pass"]),
        IMPORT: partial(_start, [sys.executable, "-c", "import adsr_hf"]),
        HELP: partial(_start, [str(_command()), "--help"]),
    }
    interleaved(tasks, repeats=1)
    seconds = interleaved(tasks, arguments.repeats)
    more = Spread.of([loaded - empty for loaded, empty in zip(seconds[IMPORT], seconds[EMPTY], strict=True)])
    return Report(
        benchmark="import_time",
        seed=arguments.seed,
        settings={"repeats": arguments.repeats},
        unit="s",
        raw=seconds,
        ratios={f"{name}/{EMPTY}": paired_ratio(seconds[name], seconds[EMPTY]) for name in (IMPORT, HELP)},
        differences={f"{IMPORT} - {EMPTY}": more},
        targets=[
            Target("adsr --help answers within 0.5 s", Spread.of(seconds[HELP]).median, 0.5),
            Target("import adsr_hf takes at most 0.3 s more than an empty interpreter", more.median, 0.3),
        ],
    )


def _start(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)


def _command() -> Path:
    command = Path(sysconfig.get_path("scripts")) / "adsr"
    if not command.is_file():
        raise FileNotFoundError(
            f"{command} does not exist; install the package into this environment: pip install -e ."
        )
    return command


if __name__ == "__main__":
    main()
