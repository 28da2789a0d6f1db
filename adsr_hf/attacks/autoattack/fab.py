"""Targeted FAB of Croce & Hein 2020 (arXiv 1907.02044): the smallest change that crosses a decision boundary."""

from typing import Any

import torch
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor

from adsr_hf.attacks.autoattack.apgd import MOST_TARGETS
from adsr_hf.attacks.batch_invariance import pad_rows
from adsr_hf.attacks.interface import KeyedImages, NamedAttack
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.records.sentences import sentence

NUM_STEPS = 100


class TargetedBoundary(NamedAttack):
    """FAB towards each of the most likely wrong classes, from the image itself: nothing in it is random."""

    def __init__(self, name: str, *, num_classes: int) -> None:
        self.name = name
        self.targets = min(MOST_TARGETS, num_classes - 1)
        self.settings: dict[str, Any] = {"num_steps": NUM_STEPS, "restarts": 1, "targets": self.targets}
        if self.targets < MOST_TARGETS:
            self.settings["note"] = sentence("note.fewer_targets", targets=self.targets)
        self.gradients_per_image = NUM_STEPS * self.targets
        self.forwards_per_image = (NUM_STEPS + 3) * self.targets

    def search(self, logits_fn: LogitsFunction, batch: KeyedImages) -> Tensor:
        """See :class:`adsr_hf.attacks.interface.NamedAttack`."""
        pixels, labels, threat, *_ = batch
        published = FABAttack_PT(
            logits_fn, norm=threat.norm, eps=threat.epsilon, n_iter=NUM_STEPS, device=pixels.device
        )
        images = pixels.detach().float()
        found = images.clone()
        standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
        for rank in range(2, self.targets + 2):
            rows = standing.nonzero().flatten()
            if not len(rows):
                break
            rows = pad_rows(rows)
            published.target_class = rank
            with torch.no_grad():
                candidate = published.attack_single_run(images[rows], labels[rows], is_targeted=True)
                # What lies outside the ball crosses the boundary too late to count.
                inside = threat.distance(images[rows], candidate) <= threat.epsilon
                fell = inside & (logits_fn(candidate).argmax(1) != labels[rows])
            found[rows[fell]] = threat.project(images[rows[fell]], candidate[fell])
            standing[rows[fell]] = False
        return found
