"""Classifiers of 8 px digits, honest and masking, trained within seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification

from adsr_hf.attacks import PGD, PixelSpace, ThreatModel
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.networks.classifier import pixels_to_logits

PIXEL_SPACE = PixelSpace(mean=(0.5,), std=(0.5,))
THREAT = ThreatModel("Linf", 0.15)


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) in [0, 1] and labels (N,) of the first ``classes`` digits."""

    pixels: Tensor
    labels: Tensor
    classes: int

    def __getitem__(self, rows: slice) -> "Digits":
        return Digits(self.pixels[rows], self.labels[rows], self.classes)


def digits(classes: int = 10) -> Digits:
    """The whole set in a fixed random order."""
    data = load_digits(n_class=classes)
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    pixels = torch.from_numpy(data.images).float()[:, None] / 16
    return Digits(pixels[order], torch.from_numpy(data.target)[order].long(), classes)


def vision_transformer(classes: int, width: int = 32) -> nn.Module:
    """A ViT of two layers."""
    return ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=2 * width,
            num_labels=classes,
        )
    )


class Convolutional(nn.Module):
    """A small network with ReLU, batch normalisation and pooling."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_labels=classes)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, classes),
        )

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.layers(pixel_values))


def trained(
    make: Callable[[int], nn.Module], data: Digits, *, threat: ThreatModel | None, epochs: int, seed: int = 0
) -> nn.Module:
    """The model after ``epochs``, on adversarial images of ``threat`` where one is given.

    The radius grows over the first half: from the start at full radius a ViT learns nothing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(data.classes)
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 4e-3, epochs=epochs, steps_per_epoch=-(-len(data.labels) // 128)
        )
        logits_fn = pixels_to_logits(model, PIXEL_SPACE, data.classes)
        for epoch in range(epochs):
            for rows in torch.randperm(len(data.labels)).split(128):
                pixels, labels = data.pixels[rows], data.labels[rows]
                if threat is not None:
                    with under_attack(model):
                        reached = ThreatModel(threat.norm, threat.epsilon * min(1, 2 * epoch / epochs))
                        pixels = PGD(reached, num_steps=4).attack(logits_fn, pixels, labels)
                model.train()
                optimizer.zero_grad()
                functional.cross_entropy(logits_fn(pixels), labels).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


class Masked(nn.Module):
    """A trained model behind something that hides its gradients.

    Args:
        before: of the normalised input.
        after: of the logits.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        before: Callable[[Tensor], Tensor] = lambda values: values,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.before, self.after = before, after

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.after(self.model(pixel_values=self.before(pixel_values)).logits))


def quantised(values: Tensor, levels: int = 4) -> Tensor:
    """Normalised values in [-1, 1] rounded to a few levels; no gradient passes."""
    return ((values + 1) / 2 * (levels - 1)).round() / (levels - 1) * 2 - 1


def straight_through(values: Tensor) -> Tensor:
    """The same rounding, with the gradient of the identity."""
    return values + (quantised(values) - values).detach()
