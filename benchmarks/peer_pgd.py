"""Our PGD against foolbox's and torchattacks': the loss that each reaches with the same steps from the same start.

The peers are no dependency of this project; install them into an environment of their own, beside it:
    python -m venv .venv-peers && .venv-peers/bin/pip install -e '.[test]' foolbox torchattacks
    .venv-peers/bin/python -m benchmarks.peer_pgd
Every attack starts from the image itself, since random starts cannot be handed over.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adsr_hf.attacks import PGD, ThreatModel
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.networks.classifier import pixels_to_logits
from adsr_hf.settings.yaml_files import read_settings
from benchmarks.measure import Report, Target, argument_parser, run

RECIPE = Path(__file__).parents[1] / "recipes" / "digits" / "vit_pgd_at.yaml"
STEPS = 20
THREATS = (ThreatModel("Linf", 0.15), ThreatModel("L2", 1.0))
# Float32 sums of the same terms in another order.
TOLERANCE = 1e-4

Attack = Callable[[Tensor, Tensor], Tensor]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    return run(benchmark, argument_parser(__doc__, repeats=1).parse_args(argv))


def benchmark(arguments: argparse.Namespace) -> Report:
    """Train a small ViT adversarially on the digits, and attack its test images with each library."""
    from adsr_hf.runs.recipe import recipe_from_settings
    from adsr_hf.runs.train import train_recipe

    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(RECIPE) | {"seed": arguments.seed, "output_dir": str(Path(folder) / "run")}
        settings |= {"max_steps": 2, "epsilon_ramp_epochs": 0} if arguments.smoke else {}
        recipe = recipe_from_settings(settings)
        trained = train_recipe(recipe.config, recipe.data, recipe.model)
    model, test = trained.trainer.model.eval(), trained.data.test
    assert test is not None
    pixels, labels = test.pixels(range(len(test))), test.labels
    logits_fn = pixels_to_logits(model, trained.trainer.pixel_space, 10)
    figures: dict[str, Any] = {}
    shortfalls = []
    with under_attack(model):
        for threat in THREATS:
            found = {name: attack(pixels, labels) for name, attack in _attacks(threat, logits_fn).items()}
            for name, images in found.items():
                assert threat.contains(pixels, images, tolerance=1e-5).all(), name
            losses = {name: _loss(logits_fn, images, labels) for name, images in found.items()}
            figures[str(threat)] = losses
            shortfalls += [losses[name] - losses["ours"] for name in ("foolbox", "torchattacks")]
    return Report(
        benchmark="peer_pgd",
        seed=arguments.seed,
        settings={"model": "the demo's ViT, PGD-AT", "images": len(labels), "steps": STEPS, "start": "the image"},
        unit="nats",
        raw={},
        ratios={},
        figures=figures,
        targets=[Target("the largest loss by which a peer is ahead of ours", max(shortfalls), TOLERANCE)],
        notes=["losses are mean cross-entropies on the adversarial images; ours keeps the last iterate, as theirs"],
    )


def _attacks(threat: ThreatModel, logits_fn: Callable[[Tensor], Tensor]) -> dict[str, Attack]:
    import foolbox
    import torchattacks

    step = 2.5 * threat.epsilon / STEPS

    class Pixels(nn.Module):
        """The peers want a module; this one is already in eval mode."""

        def forward(self, pixels: Tensor) -> Tensor:
            return logits_fn(pixels)

    module = Pixels().eval()
    bounded = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    of_foolbox = {"Linf": foolbox.attacks.LinfPGD, "L2": foolbox.attacks.L2PGD}[threat.norm]
    theirs = of_foolbox(abs_stepsize=step, steps=STEPS, random_start=False)
    of_torchattacks = {"Linf": torchattacks.PGD, "L2": torchattacks.PGDL2}[threat.norm]
    other = of_torchattacks(module, eps=threat.epsilon, alpha=step, steps=STEPS, random_start=False)
    other.device = torch.device("cpu")
    ours = PGD(threat, num_steps=STEPS, step_size=step, random_start=False)
    return {
        "ours": lambda pixels, labels: ours.attack(logits_fn, pixels, labels),
        "foolbox": lambda pixels, labels: theirs.run(bounded, pixels, labels, epsilon=threat.epsilon),
        "torchattacks": lambda pixels, labels: other(pixels, labels),
    }


@torch.no_grad()
def _loss(logits_fn: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    return functional.cross_entropy(logits_fn(images).double(), labels).item()


if __name__ == "__main__":
    main()
