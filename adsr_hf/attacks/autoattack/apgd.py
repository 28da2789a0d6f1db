"""Auto-PGD of Croce & Hein 2020 (arXiv 2003.01690, section 4), in its authors' code, started image by image."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor

from adsr_hf.attacks.batch_invariance import pad_rows
from adsr_hf.attacks.interface import KeyedImages, NamedAttack, image_generators
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.attacks.threat import ThreatModel
from adsr_hf.records.sentences import sentence

NUM_STEPS = 100
MOST_TARGETS = 9

# Their warnings repeat at every batch; the share of zero gradients is a sanity verdict of its own.
_silent = logging.getLogger("adsr_hf.attacks.autoattack.silent")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class _TargetedMargin(APGDAttack_targeted):
    """Targeted Auto-PGD on z_target − z_label: the targeted DLR loss divides by the four highest logits."""

    def dlr_loss_targeted(self, x: Tensor, y: Tensor) -> Tensor:
        rows = torch.arange(len(x), device=x.device)
        return x[rows, self.y_target] - x[rows, y]


class UntargetedAutoPGD(NamedAttack):
    """APGD on cross-entropy (``"apgd-ce"``) or on the difference of logits ratio (``"apgd-dlr"``).

    Args:
        name: what the records call it.
        loss: ``"ce"`` or ``"dlr"``.
        restarts: at least 1.
    """

    def __init__(self, name: str, *, loss: str, restarts: int) -> None:
        self.name = name
        self.loss = loss
        self.restarts = restarts
        self.settings: dict[str, Any] = {"loss": loss, "num_steps": NUM_STEPS, "restarts": restarts}
        self.gradients_per_image = (NUM_STEPS + 1) * restarts
        self.forwards_per_image = 0

    def search(self, logits_fn: LogitsFunction, batch: KeyedImages) -> Tensor:
        """See :class:`adsr_hf.attacks.interface.NamedAttack`."""
        pixels, labels, threat, seed, indices = batch
        published = APGDAttack(
            logits_fn, n_iter=NUM_STEPS, norm=threat.norm, eps=threat.epsilon, loss=self.loss, logger=_silent
        )
        search = _Search(published, pixels, labels, threat, indices)
        for restart in range(self.restarts):
            search.run(seed, self.name, restart)
        return search.found


class TargetedAutoPGD(NamedAttack):
    """APGD towards each of the most likely wrong classes in turn.

    Args:
        num_classes: with fewer than 4 the targeted DLR loss does not exist, and the difference of the two logits,
            which is its numerator, takes its place.
    """

    def __init__(self, name: str, *, num_classes: int) -> None:
        self.name = name
        self.targets = min(MOST_TARGETS, num_classes - 1)
        self.uses_margin = num_classes < 4
        self.settings: dict[str, Any] = {
            "loss": "targeted margin" if self.uses_margin else "targeted dlr",
            "num_steps": NUM_STEPS,
            "restarts": 1,
            "targets": self.targets,
        }
        if self.uses_margin:
            self.settings["note"] = sentence("note.no_targeted_dlr", classes=num_classes)
        elif self.targets < MOST_TARGETS:
            self.settings["note"] = sentence("note.fewer_targets", targets=self.targets)
        self.gradients_per_image = (NUM_STEPS + 1) * self.targets
        self.forwards_per_image = self.targets

    def search(self, logits_fn: LogitsFunction, batch: KeyedImages) -> Tensor:
        """See :class:`adsr_hf.attacks.interface.NamedAttack`."""
        pixels, labels, threat, seed, indices = batch
        kind = _TargetedMargin if self.uses_margin else APGDAttack_targeted
        published = kind(logits_fn, n_iter=NUM_STEPS, norm=threat.norm, eps=threat.epsilon, logger=_silent)
        search = _Search(published, pixels, labels, threat, indices)
        for rank in range(2, self.targets + 2):
            search.run(seed, self.name, 0, target_rank=rank)
        return search.found


class _Search:
    """The images that still stand, and what was found for those that fell."""

    def __init__(
        self, published: Any, pixels: Tensor, labels: Tensor, threat: ThreatModel, indices: Sequence[int]
    ) -> None:
        self.published = published
        self.pixels = pixels.detach().float()
        self.labels = labels
        self.threat = threat
        self.indices = list(indices)
        self.found = self.pixels.clone()
        self.standing = torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)

    def run(self, seed: int, name: str, restart: int, target_rank: int | None = None) -> None:
        """One run of the authors' attack from one start, on the images that stand."""
        rows = self.standing.nonzero().flatten()
        if not len(rows):
            return
        rows = pad_rows(rows)
        pixels, labels = self.pixels[rows], self.labels[rows]
        self.published.init_hyperparam(pixels)
        if target_rank is not None:
            with torch.no_grad():
                self.published.y_target = self.published.model(pixels).sort(dim=1)[1][:, -target_rank]
        generators = image_generators(seed, [self.indices[row] for row in rows.tolist()], name, restart, target_rank)
        start = self._start(pixels, generators)
        # Their code draws a start of its own before it takes ours.
        with torch.random.fork_rng(devices=[]):
            worst, right, _, adversarial = self.published.attack_single_run(pixels, labels, x_init=start)
        fell = right == 0
        images = torch.where(fell[:, None, None, None], adversarial.detach(), worst.detach())
        self.found[rows] = self.threat.project(pixels, images)
        self.standing[rows] = ~fell

    def _start(self, pixels: Tensor, generators: list[torch.Generator]) -> Tensor:
        """On the surface of the ball, in a random direction, as published."""
        shape = pixels.shape[1:]
        if self.threat.norm == "Linf":
            noise = [2 * torch.rand(shape, generator=generator) - 1 for generator in generators]
        else:
            noise = [torch.randn(shape, generator=generator) for generator in generators]
        direction = self.published.normalize(torch.stack(noise).to(pixels.device))
        return pixels + self.threat.epsilon * direction
