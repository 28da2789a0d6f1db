"""What the sanity checks do to a model: margins, PGD, random noise and Square on one fixed set of images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adsr_hf.attacks import PGD, ThreatModel
from adsr_hf.attacks.interface import image_generators
from adsr_hf.attacks.losses import margin
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.attacks.registry import named_attacks

SQUARE_QUERIES = 1000
# Under L2 its windows are at least this wide.
SQUARE_SMALLEST_SIDE = 5


def finite(logits: Tensor) -> Tensor:
    """The logits in float64 on the CPU.

    Raises:
        ValueError: when they hold NaN or infinity.
    """
    if not torch.isfinite(logits).all():
        raise ValueError(
            "the model's logits hold NaN or infinity, so that nothing can be checked; look at its weights"
        )
    return logits.detach().cpu().double()


@dataclass(frozen=True)
class Probe:
    """A model and the images that it classifies rightly, which alone an attack can break.

    Every method returns one number or image for each of them, in order; none depends on ``batch_size``.

    Attributes:
        logits_fn: row by row, maps pixels to logits; the model is in eval mode and frozen.
        pixels: (N, C, H, W), float32, in [0, 1], at least one image.
        labels: (N,), int64.
        seed: of every random number.
        batch_size: images taken together.
    """

    logits_fn: LogitsFunction
    pixels: Tensor
    labels: Tensor
    seed: int
    batch_size: int

    def __len__(self) -> int:
        return len(self.pixels)

    def logits(self, images: Tensor) -> Tensor:
        """(N, K), float64, on the CPU."""
        with torch.no_grad():
            return torch.cat([finite(self.logits_fn(batch)) for batch in images.split(self.batch_size)])

    def margins(self, images: Tensor) -> Tensor:
        """Highest wrong logit minus the true one, (N,), float64, on the CPU: positive where an image is broken."""
        return margin(self.logits(images), self.labels.cpu())

    def pgd(
        self,
        threat: ThreatModel,
        num_steps: int,
        *,
        loss: str = "cross_entropy",
        random_start: bool = True,
        logits_fn: LogitsFunction | None = None,
    ) -> tuple[Tensor, float]:
        """Margins of the worst images that PGD finds, and the share of gradient entries that were zero.

        Args:
            logits_fn: another model to make the images on; they are measured on this one.
        """
        attack = PGD(threat, num_steps=num_steps, loss=loss, random_start=random_start, keep="worst")
        images, zeros = [], 0.0
        for start in range(0, len(self), self.batch_size):
            batch = slice(start, start + self.batch_size)
            generators = image_generators(self.seed, range(start, start + len(self.pixels[batch])), "start")
            result = attack.run(
                logits_fn or self.logits_fn, self.pixels[batch], self.labels[batch], generator=generators
            )
            images.append(result.images)
            zeros += float(result.zero_gradient_share) * len(result.images) / len(self)
        return self.margins(torch.cat(images)), zeros

    def noise(self, threat: ThreatModel) -> Tensor:
        """Margins under random noise of exactly the threat's size: of random sign, or direction, (N,)."""
        generators = image_generators(self.seed, range(len(self)), "noise")
        drawn = torch.stack([torch.randn(self.pixels.shape[1:], generator=generator) for generator in generators])
        step = threat.ascent_step(drawn.to(self.pixels.device), threat.epsilon)
        return self.margins(threat.project(self.pixels, self.pixels + step))

    def named(self, name: str, threat: ThreatModel, rows: Tensor, num_classes: int) -> Tensor:
        """Which of the images in ``rows``, (N,) bool, an attack of AutoAttack breaks, (N,) bool.

        Raises:
            ImportError: when pyautoattack is not installed.
        """
        (attack,) = named_attacks([name], num_classes=num_classes, square_queries=SQUARE_QUERIES)
        broken = torch.zeros_like(rows)
        chosen = rows.nonzero().flatten().tolist()
        for start in range(0, len(chosen), self.batch_size):
            indices = chosen[start : start + self.batch_size]
            pixels, labels = self.pixels[indices], self.labels[indices]
            found = attack.attack(self.logits_fn, pixels, labels, threat=threat, seed=self.seed, indices=indices)
            with torch.no_grad():
                broken[indices] = finite(self.logits_fn(found)).argmax(1) != labels.cpu()
        return broken
