"""PGD with restarts, on cross-entropy or on the margin."""

from typing import Any

from torch import Tensor

from adsr_hf.attacks.batch_invariance import pad_rows
from adsr_hf.attacks.interface import KeyedImages, NamedAttack, image_generators
from adsr_hf.attacks.pgd import PGD, LogitsFunction


class ProjectedGradient(NamedAttack):
    """PGD from random starts, keeping the worst iterate of all steps and restarts for each image.

    Args:
        name: what the records call it.
        loss: ``"cross_entropy"`` or ``"margin"``.
        num_steps, restarts: its strength, each at least 1.
    """

    def __init__(self, name: str, *, loss: str, num_steps: int, restarts: int) -> None:
        self.name = name
        self.loss = loss
        self.num_steps = num_steps
        self.restarts = restarts
        self.settings: dict[str, Any] = {"loss": loss, "num_steps": num_steps, "restarts": restarts}
        self.gradients_per_image = num_steps * restarts
        self.forwards_per_image = restarts

    def search(self, logits_fn: LogitsFunction, batch: KeyedImages) -> Tensor:
        """See :class:`adsr_hf.attacks.interface.NamedAttack`."""
        pixels, labels, threat, seed, indices = batch
        attack = PGD(threat, num_steps=self.num_steps, restarts=self.restarts, loss=self.loss, keep="worst")
        images, targets = pad_rows(pixels), pad_rows(labels)
        padded = [*indices, *[indices[-1]] * (len(images) - len(pixels))]
        generators = image_generators(seed, padded, "start")
        return attack.attack(logits_fn, images, targets, generator=generators)[: len(pixels)]
