"""Peak memory of one training process: ADSR against PGD-AT and clean training, each in a process of its own.

Run it by itself: a process begins with the peak of the one that started it, so that this one stays small.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from benchmarks.measure import Report, argument_parser, paired_ratio, run

METHODS = ("clean", "pgd_at", "adsr")
# A Python interpreter needs some 15 MB, torch and transformers several hundred.
INHERITED_LIMIT_MEGABYTES = 100.0


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    parser = argument_parser(__doc__, repeats=2)
    parser.add_argument("--attack-precision", choices=("float32", "bf16"), default="float32", help="ADSRConfig's")
    parser.add_argument("--measure-here", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure_here is not None:
        print(json.dumps(measure_here(arguments)))
        return {}
    return run(benchmark, arguments)


def benchmark(arguments: argparse.Namespace) -> Report:
    """Fresh processes in turn, each for two steps of one method.

    Raises:
        subprocess.CalledProcessError: when a process fails; what it said is on the standard error stream.
    """
    # Each process waits some seconds for its imports.
    methods = METHODS[1:] if arguments.smoke else METHODS
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    for _ in range(arguments.repeats):
        for method in methods:
            found[method].append(_in_process(method, arguments))
    peaks = {method: [run["peak"] for run in runs] for method, runs in found.items()}
    grown = {method: [run["peak"] - run["ready"] for run in runs] for method, runs in found.items()}
    return Report(
        benchmark="peak_memory",
        seed=arguments.seed,
        settings={
            "repeats": arguments.repeats,
            "attack_precision": arguments.attack_precision,
            "workload": found["adsr"][0]["workload"],
        },
        unit="MB",
        raw={
            **{f"{method} peak": values for method, values in peaks.items()},
            **{f"{method} grown by steps": values for method, values in grown.items()},
        },
        ratios={
            f"{method}/pgd_at": paired_ratio(peaks[method], peaks["pgd_at"])
            for method in methods
            if method != "pgd_at"
        },
        figures={"one copy of the weights (MB)": found["adsr"][0]["weights"]},
    )


def _in_process(method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.peak_memory", "--measure-here", method]
    command += ["--seed", str(arguments.seed), "--attack-precision", arguments.attack_precision]
    command += ["--smoke"] if arguments.smoke else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return json.loads(done.stdout.splitlines()[-1])


def measure_here(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Peaks of this process, in MB (10⁶ bytes): ``ready`` before the first step, ``peak`` after the last.

    Raises:
        RuntimeError: when the process that started this one was large, which would hide what is measured.
    """
    inherited = peak_megabytes()
    if inherited > INHERITED_LIMIT_MEGABYTES:
        raise RuntimeError(
            f"this process began with a peak of {inherited:.0f} MB, which it has from the one that started it; run "
            "`python -m benchmarks.peak_memory` from a shell"
        )
    # Only now, since importing torch takes several hundred megabytes.
    from dataclasses import asdict

    from benchmarks.training import SMOKE, Workload, first_images, make_batch, make_model, make_trainer, whole_step

    workload = SMOKE if arguments.smoke else Workload()
    batch = make_batch(workload, seed=arguments.seed)
    model = make_model(workload, seed=arguments.seed)
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = make_trainer(
            output_dir,
            model,
            workload,
            seed=arguments.seed,
            method=arguments.measure_here,
            attack_precision=arguments.attack_precision,
        )
        ready = peak_megabytes()
        # The optimizer's state comes with the first step, and lies beside the second step's activations.
        whole_step(trainer, first_images(batch, 1))
        whole_step(trainer, batch)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) / 1e6
    return {"ready": ready, "peak": peak_megabytes(), "weights": weights, "workload": asdict(workload)}


def peak_megabytes() -> float:
    """Largest resident set so far; Linux counts it in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
