"""What ADSR, TRADES and AWP add to adversarial training: whole steps against those of PGD-AT and of clean training.

The floor beside it counts the passes that cannot be left out: ADSR adds one forward pass, the teacher's, to the
attack's forward and input-gradient passes and the one training pass.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from adsr_hf.networks.classifier import bare_copy
from adsr_hf.training.low_precision import BFloat16Copy
from benchmarks.measure import Report, Spread, Target, argument_parser, interleaved, paired_ratio, run
from benchmarks.training import (
    SMOKE,
    Workload,
    first_images,
    make_batch,
    make_model,
    make_trainer,
    training_figure,
    whole_step,
)

# What is timed, by name: settings of ADSRConfig.
METHODS: dict[str, dict[str, Any]] = {
    "clean": {"method": "clean"},
    "pgd_at": {"method": "pgd_at"},
    "adsr": {"method": "adsr"},
    "trades": {"method": "trades"},
    "pgd_at + awp": {"method": "pgd_at", "weight_perturbation": "awp"},
}
LIMIT = 1.10
AWP_LIMIT = 1.15


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    parser = argument_parser(__doc__, repeats=4)
    parser.add_argument("--batch-size", type=int, default=Workload.batch_size, help="images in a step")
    parser.add_argument("--attack-precision", choices=("float32", "bf16"), default="float32", help="ADSRConfig's")
    return run(benchmark, parser.parse_args(argv))


def benchmark(arguments: argparse.Namespace) -> Report:
    """Whole steps of the methods and single passes of the bare model, interleaved."""
    workload = SMOKE if arguments.smoke else Workload(batch_size=arguments.batch_size)
    batch = make_batch(workload, seed=arguments.seed)
    with tempfile.TemporaryDirectory() as output_dir:
        trainers = {
            method: make_trainer(
                output_dir,
                make_model(workload, seed=arguments.seed),
                workload,
                seed=arguments.seed,
                attack_precision=arguments.attack_precision,
                **settings,
            )
            for method, settings in METHODS.items()
        }
        passes = Passes(make_model(workload, seed=arguments.seed), batch, arguments.attack_precision)
        tasks: dict[str, Callable[[], object]] = {
            method: partial(whole_step, trainer, batch) for method, trainer in trainers.items()
        }
        tasks |= {"forward": passes.forward, "attack_pass": passes.attack, "training_pass": passes.training}
        for trainer in trainers.values():
            whole_step(trainer, first_images(batch, max(1, workload.batch_size // 8)))
        interleaved({name: task for name, task in tasks.items() if name not in METHODS or name == "clean"}, repeats=1)
        seconds = interleaved(tasks, arguments.repeats)
    ratio = paired_ratio(seconds["adsr"], seconds["pgd_at"])
    awp = paired_ratio(seconds["pgd_at + awp"], seconds["pgd_at"])
    steps = workload.attack_steps
    return Report(
        benchmark="step_cost",
        seed=arguments.seed,
        settings=asdict(workload) | {"repeats": arguments.repeats, "attack_precision": arguments.attack_precision},
        unit="s",
        raw=seconds,
        ratios={
            "adsr/pgd_at": ratio,
            "pgd_at + awp/pgd_at": awp,
            "trades/pgd_at": paired_ratio(seconds["trades"], seconds["pgd_at"]),
            "clean/pgd_at": paired_ratio(seconds["clean"], seconds["pgd_at"]),
            "floor of adsr/pgd_at, from the passes measured": floor(seconds, steps),
        },
        figures={
            # In forward passes: an input gradient costs one, the weights' gradients one more.
            "floor of adsr/pgd_at, from passes counted (float32)": 1 + 1 / (2 * steps + 3),
            "passes' share of a pgd_at step": Spread.of(
                [
                    (steps * attack + training) / step
                    for attack, training, step in zip(
                        seconds["attack_pass"], seconds["training_pass"], seconds["pgd_at"], strict=True
                    )
                ]
            ).median,
            **{
                f"zero_gradient_share {m}": training_figure(trainers[m], "zero_gradient_share")
                for m in METHODS
                if m != "clean"
            },
        },
        targets=[
            Target("an ADSR step costs at most 1.10 steps of PGD-AT", ratio.median, LIMIT),
            Target("a step with AWP costs at most 1.15 steps without", awp.median, AWP_LIMIT),
        ],
    )


def floor(seconds: dict[str, list[float]], attack_steps: int) -> Spread:
    """The least that ADSR's step can cost in PGD-AT's: 1 + forward / (steps · attack pass + training pass)."""
    rounds = zip(seconds["forward"], seconds["attack_pass"], seconds["training_pass"], strict=True)
    return Spread.of([1 + forward / (attack_steps * attack + training) for forward, attack, training in rounds])


class Passes:
    """Single passes of a bare model over one batch, with nothing around them.

    Args:
        model: in float32.
        batch: ``pixel_values`` (B, 3, H, W) and ``labels`` (B,).
        attack_precision: as in ADSRConfig.
    """

    def __init__(self, model: PreTrainedModel, batch: dict[str, Tensor], attack_precision: str) -> None:
        self.trained = model.train()
        self.teacher = bare_copy(model).eval().requires_grad_(False)
        self.attacked = BFloat16Copy(model).model if attack_precision == "bf16" else self.teacher
        self.batch = batch

    @torch.no_grad()
    def forward(self) -> None:
        """The teacher's pass: eval mode, no gradient."""
        self.teacher(pixel_values=self.batch["pixel_values"])

    def attack(self) -> None:
        """One step of an attack: forward, and backward to the input of frozen weights."""
        dtype = next(self.attacked.parameters()).dtype
        inputs = self.batch["pixel_values"].clone().requires_grad_(True)
        logits = self.attacked(pixel_values=inputs.to(dtype)).logits.float()
        torch.autograd.grad(functional.cross_entropy(logits, self.batch["labels"]), inputs)

    def training(self) -> None:
        """Forward, and backward to the weights."""
        logits = self.trained(pixel_values=self.batch["pixel_values"]).logits
        functional.cross_entropy(logits, self.batch["labels"]).backward()
        self.trained.zero_grad()


if __name__ == "__main__":
    main()
