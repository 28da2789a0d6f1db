"""Whether data loading holds training up: one batch from Trainer's own DataLoader against one ADSR step on it.

Two models: that of step_cost, and the far smaller one of the digits recipe, for which loading weighs most. Both
augment, also where the recipe does not, and load in the training process (no workers), so that nothing is hidden.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from adsr_hf.data import ImageClassificationDataset
from adsr_hf.data.augmentation import Augmentation
from adsr_hf.data.image_stores import MemoryStore
from benchmarks.measure import Report, Target, argument_parser, interleaved, paired_ratio, run
from benchmarks.training import DIGITS, SMOKE, Workload, make_images, make_model, make_space, make_trainer, whole_step

# Enough that starting an epoch, which a pass over the loader includes, weighs as little as in a real one.
BATCHES, SMOKE_BATCHES = 20, 2
LIMIT = 0.10


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    return run(benchmark, argument_parser(__doc__, repeats=5).parse_args(argv))


def benchmark(arguments: argparse.Namespace) -> Report:
    """Passes over the loader and steps, interleaved; both are given per batch."""
    workloads = {"step_cost": SMOKE} if arguments.smoke else {"step_cost": Workload(), "digits": DIGITS}
    batches = SMOKE_BATCHES if arguments.smoke else BATCHES
    with tempfile.TemporaryDirectory() as output_dir:
        tasks: dict[str, Callable[[], object]] = {}
        for name, workload in workloads.items():
            tasks |= tasks_of(name, workload, output_dir, batches=batches, seed=arguments.seed)
        interleaved(tasks, repeats=1)
        seconds = interleaved(tasks, arguments.repeats)
    per_batch = {
        task: [value / batches for value in values] if task.endswith(" loading") else values
        for task, values in seconds.items()
    }
    ratios = {
        f"{name} loading/{name} step": paired_ratio(per_batch[f"{name} loading"], per_batch[f"{name} step"])
        for name in workloads
    }
    return Report(
        benchmark="data_loading",
        seed=arguments.seed,
        settings={
            "repeats": arguments.repeats,
            "batches_in_a_pass": batches,
            "workers": 0,
            "workloads": {name: asdict(workload) for name, workload in workloads.items()},
        },
        unit="s",
        raw=per_batch,
        ratios=ratios,
        targets=[Target(f"{name} of a batch is at most 0.1", ratio.median, LIMIT) for name, ratio in ratios.items()],
    )


def tasks_of(
    name: str, workload: Workload, output_dir: str, *, batches: int, seed: int
) -> dict[str, Callable[[], object]]:
    """A pass over the loader, and one step, of a trainer for this workload."""
    dataset = make_dataset(workload, batches, seed)
    model = make_model(workload, seed=seed)
    trainer = make_trainer(output_dir, model, workload, seed=seed, train_dataset=dataset)
    loader = trainer.get_train_dataloader()
    return {f"{name} loading": partial(read, loader), f"{name} step": partial(whole_step, trainer, next(iter(loader)))}


def make_dataset(workload: Workload, batches: int, seed: int) -> ImageClassificationDataset:
    """Augmented images that fill so many batches, kept in memory as those of a run that has room for them."""
    parts = [make_images(workload, seed=seed, batch=number) for number in range(batches)]
    pixels, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return ImageClassificationDataset(
        MemoryStore((pixels * 255).round().byte()),
        labels,
        pixel_space=make_space(workload),
        class_names=[str(number) for number in range(workload.classes)],
        augmentation=Augmentation(padding=workload.image_size // 8),
        seed=seed,
    )


def read(loader: Any) -> None:
    """One pass, as an epoch begins and ends."""
    for _ in loader:
        pass


if __name__ == "__main__":
    main()
