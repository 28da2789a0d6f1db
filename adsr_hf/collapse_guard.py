"""Catastrophic overfitting of single-step adversarial training: noticing it.

Wong, Rice & Kolter, *Fast is better than free* (ICLR 2020, arXiv 2001.03994), section 5.4: within an epoch accuracy
against PGD falls to zero while accuracy against the single-step attack that trains rises.
"""

import torch
from torch import Tensor

# Accuracy against PGD that is left, as a share of its best, at which a run counts as collapsed.
REMAINING_SHARE = 0.5


class CollapseGuard:
    """Remembers when PGD accuracy was best, and what training-attack accuracy was then.

    Attributes:
        collapsed: whether a collapse was seen.
    """

    def __init__(self) -> None:
        self.best_pgd_accuracy = 0.0
        self.training_accuracy_at_best = 0.0
        self.collapsed = False

    def look(self, *, training_accuracy: float, pgd_accuracy: float) -> bool:
        """Whether the run collapses now: PGD accuracy at half its best or below, training accuracy no lower than then.

        Args:
            training_accuracy: share of a batch that is right under the training attack, in [0, 1].
            pgd_accuracy: share of the same batch that is right under PGD, in [0, 1].
        """
        if pgd_accuracy >= self.best_pgd_accuracy:
            self.best_pgd_accuracy, self.training_accuracy_at_best = pgd_accuracy, training_accuracy
            return False
        fell = pgd_accuracy <= REMAINING_SHARE * self.best_pgd_accuracy
        first = fell and training_accuracy >= self.training_accuracy_at_best and not self.collapsed
        self.collapsed = self.collapsed or first
        return first

    def state_dict(self) -> dict[str, Tensor]:
        """What a continued run must know, as scalar tensors."""
        values = (self.best_pgd_accuracy, self.training_accuracy_at_best, float(self.collapsed))
        return {"collapse_guard": torch.tensor(values, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`."""
        self.best_pgd_accuracy, self.training_accuracy_at_best, collapsed = state["collapse_guard"].tolist()
        self.collapsed = bool(collapsed)
