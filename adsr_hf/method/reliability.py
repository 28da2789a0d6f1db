"""How good a teacher is on the images that it labels, kept along the run: for labels that follow it, not the clock.

Ours, not the paper's. The paper's schedules say how far a teacher is to be trusted from how much of the run has
passed, which is right for its 200 epochs alone: in a short run the teacher is still unsure when its flat answer has
become the target. Here two running means say it instead: the temperature at which the teacher's confidence fits its
accuracy, and that accuracy.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# A batch on which the teacher is always right, or right by chance, asks for none.
COLDEST, HOTTEST = 0.2, 5.0
_HALVINGS = 20


class TeacherReliability:
    """Running means of the teacher's accuracy and of the logarithm of its best temperature, over batches.

    The means forget as the teacher does, and count what they have seen alone: after n batches, batch i has the weight
    γ^(n − i) / Σ_j γ^(n − j).

    Example:
        >>> import torch
        >>> reliability = TeacherReliability()
        >>> seen = batch_reliability(torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))
        >>> reliability.add(seen, decay=0.9)
        >>> round(reliability.accuracy, 2), round(reliability.temperature, 2)
        (0.75, 3.64)
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64)

    def reset(self) -> None:
        """Forget everything: another run begins."""
        self._sums = torch.zeros(3, dtype=torch.float64)

    def add(self, seen: Tensor, *, decay: float) -> None:
        """Take in one batch.

        Args:
            seen: (2,), float64, see :func:`batch_reliability`; the same in every process.
            decay: γ, in [0, 1).
        """
        self._sums = decay * self._sums + torch.cat([torch.ones(1, dtype=torch.float64), seen.cpu().double()])

    @property
    def accuracy(self) -> float:
        """In [0, 1]; 0 before any batch."""
        return float(self._sums[1] / self._sums[0]) if self._sums[0] else 0.0

    @property
    def temperature(self) -> float:
        """The temperature at which confidence fits accuracy, in [0.2, 5]; 1 before any batch."""
        return math.exp(float(self._sums[2] / self._sums[0])) if self._sums[0] else 1.0

    def state_dict(self) -> dict[str, Tensor]:
        """The sums behind the means."""
        return {"teacher_reliability": self._sums}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`."""
        self._sums = state["teacher_reliability"].clone()


@torch.no_grad()
def batch_reliability(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """A batch's accuracy, and log T of the temperature in [0.2, 5] with the least negative log-likelihood; (2,).

    The likelihood is convex in 1 / T (Guo et al. 2017, arXiv 1706.04599), whose slope's sign is followed by halving.
    Nothing leaves the device.

    Args:
        teacher_logits: (B, K), float.
        labels: (B,), int64 class indices.
    """
    logits = teacher_logits.double()
    true_logits = logits.gather(1, labels[:, None]).squeeze(1)
    low = logits.new_tensor(math.log(COLDEST))
    high = logits.new_tensor(math.log(HOTTEST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (torch.softmax(logits / middle.exp(), dim=1) * logits).sum(1)
        too_hot = expected.mean() < true_logits.mean()
        low, high = torch.where(too_hot, low, middle), torch.where(too_hot, middle, high)
    accuracy = (logits.argmax(1) == labels).double().mean()
    return torch.stack([accuracy, (low + high) / 2])
