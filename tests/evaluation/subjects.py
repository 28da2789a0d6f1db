"""A small trained model with its images, as tests and their child processes measure it."""

import sys
from pathlib import Path
from typing import Any

import torch

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.suite import evaluate
from tests.tiny import CLASSES, MEAN, STD, TinyImages, tiny_vit

SPACE = PixelSpace(MEAN, STD)
THREATS = (ThreatModel("Linf", 0.02), ThreatModel("Linf", 0.2), ThreatModel("L2", 0.5))
PLAN = Plan(THREATS, attacks=("pgd", "apgd-ce", "square"), num_steps=3, square_queries=30, stability=True)


def trained_model() -> torch.nn.Module:
    """A model that learned the tiny images a little, so that attacks have something to break."""
    torch.manual_seed(0)
    network, images = tiny_vit(), TinyImages(64).batch()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(9):
        loss = network(**images).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def images(count: int = 70) -> list[dict[str, Any]]:
    """Images that the model was not trained on; it is wrong about every tenth, whose label is another."""
    items = [TinyImages(count, seed=1)[index] for index in range(count)]
    return [item | {"labels": (int(item["labels"]) + (index % 10 == 0)) % CLASSES} for index, item in enumerate(items)]


def main(weights: Path, folder: Path) -> None:
    """What a child process does: the same evaluation, from saved weights, into a folder."""
    torch.set_num_threads(1)
    network = tiny_vit()
    network.load_state_dict(torch.load(weights, weights_only=True))
    evaluate(network.eval(), images(), PLAN, pixel_space=SPACE, folder=folder, show_progress=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
