"""Catastrophic overfitting of single-step adversarial training: noticing it.

Wong, Rice & Kolter, *Fast is better than free* (ICLR 2020, arXiv 2001.03994), section 5.4: within an epoch accuracy
against PGD falls to zero while accuracy against the single-step attack that trains rises.
"""

import torch
from torch import Tensor

# Accuracy against PGD that is left, as a share of its best, at which a run counts as collapsed.
REMAINING_SHARE = 0.5


class CollapseGuard:
    """Remembers when PGD accuracy was best at the last radius, and what training-attack accuracy was then.

    Attributes:
        best_pgd_accuracy: in [0, 1]; forgotten with another radius, since accuracies compare at one radius alone.
        training_accuracy_at_best: in [0, 1].
        radius: of both attacks at the last look, in [0, 1] pixel units.
        collapsed: whether a collapse was seen.

    Example:
        >>> guard = CollapseGuard()
        >>> guard.look(training_accuracy=0.5, pgd_accuracy=0.4, radius=8 / 255)
        False
        >>> guard.look(training_accuracy=0.9, pgd_accuracy=0.0, radius=8 / 255)
        True
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: another run begins."""
        self.best_pgd_accuracy = 0.0
        self.training_accuracy_at_best = 0.0
        self.radius = 0.0
        self.collapsed = False

    def look(self, *, training_accuracy: float, pgd_accuracy: float, radius: float) -> bool:
        """Whether the run collapses now: PGD accuracy at half its best or below, training accuracy no lower than then.

        The first look at a new radius is still judged by the best at the last one, so that a collapse is also seen
        while the radius grows: a larger radius alone would lower training accuracy too.

        Args:
            training_accuracy: share of a batch that is right under the training attack, in [0, 1].
            pgd_accuracy: share of the same batch that is right under PGD, in [0, 1].
            radius: of both attacks, in [0, 1] pixel units.
        """
        fell = self.best_pgd_accuracy > 0 and pgd_accuracy <= REMAINING_SHARE * self.best_pgd_accuracy
        if fell and training_accuracy >= self.training_accuracy_at_best and not self.collapsed:
            self.collapsed = True
            return True
        if radius != self.radius or pgd_accuracy >= self.best_pgd_accuracy:
            self.best_pgd_accuracy, self.training_accuracy_at_best = pgd_accuracy, training_accuracy
            self.radius = radius
        return False

    def state_dict(self) -> dict[str, Tensor]:
        """What a continued run must know, as scalar tensors."""
        values = (self.best_pgd_accuracy, self.training_accuracy_at_best, self.radius, float(self.collapsed))
        return {"collapse_guard": torch.tensor(values, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`."""
        best, at_best, self.radius, collapsed = state["collapse_guard"].tolist()
        self.best_pgd_accuracy, self.training_accuracy_at_best, self.collapsed = best, at_best, bool(collapsed)
