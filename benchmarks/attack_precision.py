"""What a low-precision attack saves, and whether it is as strong: time, gradient signs, and the loss it reaches.

Time is taken on the step_cost model. Strength is taken on a small one after adversarial training, since an untrained
model's gradients say little: every variant attacks the same images from the same random starts, and the float32 model
judges, whatever the attack computed in.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from adsr_hf.attacks import PGD, PixelSpace, ThreatModel
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.attacks.pgd import AttackResult, LogitsFunction
from adsr_hf.networks.classifier import bare_copy, pixels_to_logits
from adsr_hf.training.low_precision import BFloat16Copy
from benchmarks.measure import Report, argument_parser, interleaved, paired_ratio, run
from benchmarks.training import (
    DIGITS,
    SMOKE,
    Workload,
    make_batch,
    make_images,
    make_model,
    make_space,
    make_trainer,
    whole_step,
)

THREAT = ThreatModel.parse("Linf 0.05")
# Time is proportional to the steps, so that a short attack measures the ratio of a long one.
TIMED_STEPS = 2
TRAINED = replace(DIGITS, batch_size=32, attack_steps=2)
RAMP_EPOCHS = 0.1
TRAINING_STEPS, SMOKE_TRAINING_STEPS = 150, 5
JUDGED_IMAGES, SMOKE_JUDGED_IMAGES = 256, 16
JUDGED_STEPS = 10
HELD_OUT = 1_000_000
REFERENCE, BACKWARD, COPY, COMPILED = "float32", "float32, loss.backward()", "bf16 copy", "bf16 copy, torch.compile"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    parser = argument_parser(__doc__, repeats=4)
    parser.add_argument("--batch-size", type=int, default=Workload.batch_size, help="images that are attacked")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="time torch.compile too"
    )
    return run(benchmark, parser.parse_args(argv))


@dataclass(frozen=True)
class Variant:
    """One way to compute the attack's gradients.

    Attributes:
        network: what is differentiated.
        around: entered for the time of the attack.
        refresh: run before each attack, as after an optimizer step in training.
    """

    network: Callable[..., Any]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    refresh: Callable[[], object] = lambda: None


def benchmark(arguments: argparse.Namespace) -> Report:
    """Time every variant in turn, then compare what each of them finds."""
    workload = SMOKE if arguments.smoke else Workload(batch_size=arguments.batch_size)
    untrained = make_model(workload, seed=arguments.seed).eval()
    timed, notes = make_variants(untrained, compiles=arguments.compile)
    pixels, labels = make_images(workload, seed=arguments.seed)
    victim = AttackedNetwork(untrained, make_space(workload), pixels, labels, arguments.seed)
    tasks: dict[str, Callable[[], object]] = {
        name: partial(victim.attack, variant, TIMED_STEPS) for name, variant in timed.items()
    }
    tasks[BACKWARD] = partial(victim.textbook_attack, TIMED_STEPS)
    first = interleaved(tasks, repeats=1)
    seconds = interleaved(tasks, arguments.repeats)
    training_steps = SMOKE_TRAINING_STEPS if arguments.smoke else TRAINING_STEPS
    judged_images = SMOKE_JUDGED_IMAGES if arguments.smoke else JUDGED_IMAGES
    figures = strength(arguments.seed, training_steps, judged_images)
    if COMPILED in first:
        figures["first call of torch.compile (s)"] = first[COMPILED][0]
    return Report(
        benchmark="attack_precision",
        seed=arguments.seed,
        settings={
            "repeats": arguments.repeats,
            "timed": asdict(workload) | {"attack_steps": TIMED_STEPS},
            "trained": asdict(TRAINED) | {"training_steps": training_steps, "threat": str(THREAT)},
            "judged_images": judged_images,
            "judged_attack_steps": JUDGED_STEPS,
        },
        unit="s",
        raw=seconds,
        ratios={
            f"{name}/{REFERENCE}": paired_ratio(values, seconds[REFERENCE])
            for name, values in seconds.items()
            if name != REFERENCE
        },
        figures=figures,
        notes=notes,
    )


def strength(seed: int, training_steps: int, images: int) -> dict[str, Any]:
    """What PGD reaches in each precision on held-out images, by the float32 model's judgement."""
    model = trained_model(seed, training_steps)
    variants, _ = make_variants(model, compiles=False)
    pixels, labels = make_images(replace(TRAINED, batch_size=images), seed=seed, batch=HELD_OUT)
    network = AttackedNetwork(model, make_space(TRAINED), pixels, labels, seed)
    results = {name: network.attack(variant, JUDGED_STEPS) for name, variant in variants.items()}
    losses = {name: network.losses(result.images) for name, result in results.items()}
    figures: dict[str, Any] = {
        "no attack": {"loss": network.losses(pixels).mean().item(), "accuracy": network.accuracy(pixels)}
    }
    for name, result in results.items():
        lost = losses[REFERENCE] - losses[name]
        figures[f"PGD-{JUDGED_STEPS} in {name}"] = {
            "loss": losses[name].mean().item(),
            f"loss below {REFERENCE}'s": lost.mean().item(),
            "standard error of that": (lost.std() / len(lost) ** 0.5).item(),
            "accuracy": network.accuracy(result.images),
            f"sign agreement with {REFERENCE}": network.sign_agreement(variants[REFERENCE], variants[name]),
            "zero_gradient_share": result.zero_gradient_share.item(),
        }
    return figures


def trained_model(seed: int, training_steps: int) -> PreTrainedModel:
    """A small model after adversarial training with a growing radius."""
    model = make_model(TRAINED, seed=seed)
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = make_trainer(
            output_dir,
            model,
            TRAINED,
            seed=seed,
            method="pgd_at",
            epsilon=THREAT.epsilon,
            epsilon_ramp_epochs=RAMP_EPOCHS,
            learning_rate=2e-3,
        )
        for number in range(training_steps):
            whole_step(trainer, make_batch(TRAINED, seed=seed, batch=number))
    return bare_copy(model).eval()


def make_variants(model: PreTrainedModel, *, compiles: bool) -> tuple[dict[str, Variant], list[str]]:
    """Variants by name, the reference first, and notes on those left out."""
    frozen = partial(under_attack, model)
    variants = {REFERENCE: Variant(model, frozen), "bf16 autocast": Variant(model, partial(autocast, frozen))}
    for name, attention in ((COPY, None), (f"{COPY}, sdpa attention", "sdpa")):
        copy = BFloat16Copy(model)
        if attention is not None:
            copy.model.set_attn_implementation(attention)  # type: ignore[operator]
        variants[name] = Variant(copy.model, refresh=partial(copy.refresh, model))
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not compiles:
        return variants, [f"left out: {COMPILED}, by --no-compile"]
    if shutil.which(compiler) is None:
        return variants, [f"left out: {COMPILED}, since torch.compile needs a C++ compiler and {compiler} is not here"]
    copy = BFloat16Copy(model)
    variants[COMPILED] = Variant(torch.compile(copy.model), refresh=partial(copy.refresh, model))
    return variants, []


@contextmanager
def autocast(frozen: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Attack the float32 weights, cast at each pass, as ``ADSRConfig(bf16=True)`` does."""
    with frozen(), torch.autocast("cpu", torch.bfloat16):
        yield


@dataclass(frozen=True)
class AttackedNetwork:
    """What is attacked, and by whose judgement.

    Attributes:
        model: in float32; judges every attack.
        space: its normalisation.
        pixels: (B, 3, H, W), float32, in [0, 1].
        labels: (B,) int64.
        seed: of the random starts.
    """

    model: PreTrainedModel
    space: PixelSpace
    pixels: Tensor
    labels: Tensor
    seed: int

    def attack(self, variant: Variant, steps: int) -> AttackResult:
        """The package's PGD; every call starts at the same random points."""
        variant.refresh()
        with variant.around():
            generator = torch.Generator().manual_seed(self.seed)
            attack = PGD(THREAT, num_steps=steps)
            return attack.run(self._logits_fn(variant.network), self.pixels, self.labels, generator=generator)

    def textbook_attack(self, steps: int) -> Tensor:
        """PGD as it is often written: ``loss.backward()``, which computes every weight's gradient too."""
        step_size = 2.5 * THREAT.epsilon / steps
        logits_fn = self._logits_fn(self.model)
        perturbed = THREAT.sample(self.pixels, torch.Generator().manual_seed(self.seed))
        for _ in range(steps):
            perturbed.requires_grad_(True)
            functional.cross_entropy(logits_fn(perturbed), self.labels).backward()
            assert perturbed.grad is not None
            moved = perturbed.detach() + step_size * perturbed.grad.sign()
            perturbed = THREAT.project(self.pixels, moved)
        self.model.zero_grad()
        return perturbed

    def sign_agreement(self, reference: Variant, variant: Variant) -> float:
        """Share of input-gradient entries, at the random start, whose sign is the reference's."""
        start = THREAT.sample(self.pixels, torch.Generator().manual_seed(self.seed))
        signs = [self._gradient(network, start).sign() for network in (reference, variant)]
        return (signs[0] == signs[1]).float().mean().item()

    @torch.no_grad()
    def losses(self, images: Tensor) -> Tensor:
        """Cross-entropy of each image under the float32 model, (B,)."""
        return functional.cross_entropy(self._logits_fn(self.model)(images), self.labels, reduction="none")

    @torch.no_grad()
    def accuracy(self, images: Tensor) -> float:
        """Share of images that the float32 model classifies correctly."""
        return (self._logits_fn(self.model)(images).argmax(1) == self.labels).float().mean().item()

    def _gradient(self, variant: Variant, images: Tensor) -> Tensor:
        with variant.around():
            images = images.clone().requires_grad_(True)
            loss = functional.cross_entropy(self._logits_fn(variant.network)(images).float(), self.labels)
            return torch.autograd.grad(loss, images)[0]

    def _logits_fn(self, network: Callable[..., Any]) -> LogitsFunction:
        return pixels_to_logits(network, self.space, self.model.config.num_labels)


if __name__ == "__main__":
    main()
