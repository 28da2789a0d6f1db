"""Fair comparisons on one machine: interleaved runs, paired ratios, and a record that names the machine.

Nothing heavy is imported before it is needed: two of the benchmarks start processes that must not inherit it.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements, with the measurements themselves in order."""

    median: float
    quartile_1: float
    quartile_3: float
    values: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise at least one value; quartiles are interpolated between the sorted values."""
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [*values]
        return cls(middle, low, high, list(values))

    def __str__(self) -> str:
        return f"{self.median:.4g} [{self.quartile_1:.4g}, {self.quartile_3:.4g}]"


def interleaved(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each task in each of ``repeats`` rounds; a round runs every task once.

    Both the machine's slow drift and what one task leaves in the caches fall on all tasks alike: rounds are paired,
    and each begins with another task.
    """
    names = list(tasks)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(repeats):
        start = round_number % len(names)
        for name in names[start:] + names[:start]:
            started = time.perf_counter()
            tasks[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Ratio of each round's two measurements, summarised."""
    return Spread.of([top / bottom for top, bottom in zip(numerators, denominators, strict=True)])


@dataclass(frozen=True)
class Target:
    """A claim that the project makes, and whether this run bears it out."""

    claim: str
    measured: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the median stays within the limit."""
        return self.measured <= self.limit


@dataclass
class Report:
    """What a benchmark found.

    Attributes:
        benchmark: its module's name.
        seed: of weights, images and random starts.
        settings: sizes of model, batch and samples, and the number of repeats.
        unit: of the raw measurements.
        raw: each task's measurements, round by round.
        ratios: paired ratios of raw measurements, and of what was computed from them.
        differences: paired differences, in ``unit``.
        figures: everything else, such as shares and losses: numbers, or mappings to numbers.
        targets: what the project claims about these numbers.
        notes: what was left out, and why.
    """

    benchmark: str
    seed: int
    settings: dict[str, Any]
    unit: str
    raw: dict[str, list[float]]
    ratios: dict[str, Spread]
    differences: dict[str, Spread] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self, load_before: Sequence[float]) -> dict[str, Any]:
        """The record, with the machine it was made on."""
        record = {"schema_version": SCHEMA_VERSION, "machine": machine(load_before)} | asdict(self)
        record["targets"] = [asdict(target) | {"met": target.met} for target in self.targets]
        return record

    def lines(self) -> list[str]:
        """A table for people: median [first quartile, third quartile]."""
        rows = [(f"{name} ({self.unit})", str(Spread.of(values))) for name, values in self.raw.items()]
        rows += [(f"ratio {name}", str(spread)) for name, spread in self.ratios.items()]
        rows += [(f"difference {name} ({self.unit})", str(spread)) for name, spread in self.differences.items()]
        rows += _flattened(self.figures)
        width = max(len(name) for name, _ in rows)
        table = [f"{name:<{width}}  {value}" for name, value in rows]
        verdicts = [
            f"{'met' if target.met else 'NOT MET'}: {target.claim}: {target.measured:.4g}, limit {target.limit:g}"
            for target in self.targets
        ]
        return [f"{self.benchmark}: median [quartiles] of paired rounds", *table, *verdicts, *self.notes]


def _flattened(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in figures.items():
        rows += (
            _flattened(value, f"{prefix}{name}: ") if isinstance(value, Mapping) else [(prefix + name, f"{value:.4g}")]
        )
    return rows


def machine(load_before: Sequence[float]) -> dict[str, Any]:
    """Names the machine, its software and how busy it was.

    Args:
        load_before: load averages over 1, 5 and 15 minutes before the benchmark began.
    """
    import torch

    from adsr_hf.records.machine import package_versions

    return {
        "cpu": _cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "ram_gigabytes": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 2),
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch_threads": torch.get_num_threads(),
        "load_average_before": list(load_before),
        "versions": package_versions(LIBRARIES),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def argument_parser(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--repeats", type=_positive, default=repeats, help="rounds, each of which gives one ratio")
    parser.add_argument("--seed", type=int, default=0, help="of weights, images and random starts")
    parser.add_argument("--smoke", action="store_true", help="sizes too small to mean anything, to see that it runs")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def run(benchmark: Callable[[argparse.Namespace], Report], arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a benchmark, print its table, and write its record where one was asked for."""
    load_before = os.getloadavg()
    report = benchmark(arguments)
    print("\n".join(report.lines()))
    record = report.as_json(load_before)
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return record
