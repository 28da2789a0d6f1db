"""How much is left: work counted in forward passes of one image, for the estimate and the progress bar."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from adsr_hf.attacks.batch_invariance import ROWS
from adsr_hf.attacks.interface import NamedAttack
from adsr_hf.attacks.pgd import LogitsFunction

# A forward and backward pass against a forward pass, where nothing better was measured.
_GRADIENT_COST = 3.0


class Passes:
    """Counts the passes of a run and shows them.

    Args:
        show: draw a progress bar.
    """

    def __init__(self, *, show: bool) -> None:
        self.gradient_cost = _GRADIENT_COST
        self.seconds_per_forward = 0.0
        self._bar = tqdm(total=0, unit="pass", disable=not show, smoothing=0.05, unit_scale=True)
        self._planned = 0.0
        self._shown = 0.0

    def cost(self, attacks: Sequence[NamedAttack]) -> float:
        """Passes that these attacks make on one image that never falls."""
        return sum(attack.gradients_per_image * self.gradient_cost + attack.forwards_per_image for attack in attacks)

    def plan(self, passes: float) -> None:
        """So many more will follow; fewer if negative."""
        self._planned += passes
        self._bar.total = max(round(self._planned), round(self._shown))
        self._bar.refresh()

    def finish(self, planned: float, shown_before: float) -> None:
        """A unit is done that was planned at ``planned`` passes: what it did not need leaves the plan."""
        self.plan(self._shown - shown_before - planned)

    @property
    def left(self) -> float:
        """Passes that are planned and not made."""
        return max(self._planned - self._shown, 0.0)

    @property
    def shown(self) -> float:
        """Passes made so far."""
        return self._shown

    def counted(self, logits_fn: LogitsFunction) -> LogitsFunction:
        """The same function; every image it sees moves the bar."""

        def counting(pixels: Tensor) -> Tensor:
            logits = logits_fn(pixels)
            passes = len(pixels) * (self.gradient_cost if logits.requires_grad else 1.0)
            self._shown += passes
            self._bar.update(round(self._shown) - self._bar.n)
            return logits

        return counting

    def measure(self, logits_fn: LogitsFunction, pixels: Tensor) -> None:
        """Time a forward pass, and a forward and backward one, on a block of real images."""
        block = pixels[:1].expand(ROWS, *pixels.shape[1:]).contiguous()

        def forward() -> None:
            with torch.no_grad():
                logits_fn(block).sum().item()

        def gradient() -> None:
            leaf = block.clone().requires_grad_(True)
            torch.autograd.grad(logits_fn(leaf).logsumexp(1).sum(), leaf)[0].sum().item()

        alone, both = _fastest(forward), _fastest(gradient)
        self.seconds_per_forward = alone / ROWS
        self.gradient_cost = max(1.0, both / alone)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def _fastest(work: object) -> float:
    assert callable(work)
    work()
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[1]
