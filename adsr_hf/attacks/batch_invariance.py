"""An image's outcome must not depend on which images stand beside it, down to the last bit.

Matrix products choose their order of summation by their shape, so that a batch of 37 may give other bits than one of
500. Everything here therefore runs in blocks of one fixed number of rows. A last, smaller block is allowed where it
was seen to give the same bits, since filling it up would waste work.
"""

import torch
from torch import Tensor

from adsr_hf.attacks.pgd import LogitsFunction, with_gradients

ROWS = 64
# Smaller blocks are multiples of this.
FEWEST_ROWS = 8


def pad_rows(tensor: Tensor, multiple: int = FEWEST_ROWS) -> Tensor:
    """The tensor with its last row repeated up to a multiple of ``multiple`` rows.

    Args:
        tensor: (B, ...), B at least 1.
        multiple: at least 1.
    """
    missing = -len(tensor) % multiple
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor


def row_independent(logits_fn: LogitsFunction) -> LogitsFunction:
    """The same function, called on :data:`ROWS` rows at a time, and at the end on as few as give the same bits.

    Gradients flow through it.

    Args:
        logits_fn: maps (B, C, H, W) pixels to (B, K) logits, each row from its own image alone.
    """
    small_blocks = _SmallBlocks(logits_fn)

    def in_blocks(pixels: Tensor) -> Tensor:
        whole = len(pixels) // ROWS * ROWS
        blocks = [logits_fn(block) for block in pixels[:whole].split(ROWS)] if whole else []
        if whole < len(pixels):
            rest = pad_rows(pixels[whole:])
            blocks.append(logits_fn(rest if small_blocks.agree(rest) else pad_rows(rest, ROWS)))
        return torch.cat(blocks)[: len(pixels)]

    return in_blocks


class _SmallBlocks:
    """Which sizes of a block give the bits of a full one: tried once for each size, on noise, elsewhere in the block.

    Which kernel computes a block depends on its shape and not on its values, so that one trial decides for all.
    """

    def __init__(self, logits_fn: LogitsFunction) -> None:
        self.logits_fn = logits_fn
        self.reference: tuple[Tensor, ...] | None = None
        self.agreeing: dict[int, bool] = {ROWS: True}

    def agree(self, block: Tensor) -> bool:
        """Whether a block of this many rows may stay as small as it is."""
        rows = len(block)
        if rows not in self.agreeing:
            generator = torch.Generator().manual_seed(0)
            noise = torch.rand((ROWS, *block.shape[1:]), generator=generator).to(block.device)
            if self.reference is None:
                self.reference = self._answers(noise)
            found = self._answers(noise[-rows:])
            pairs = zip(found, self.reference, strict=True)
            self.agreeing[rows] = all(torch.equal(answer, full[-rows:]) for answer, full in pairs)
        return self.agreeing[rows]

    def _answers(self, noise: Tensor) -> tuple[Tensor, ...]:
        """Logits without and with a graph, and the input's gradient where there is one."""
        with torch.no_grad():
            alone = self.logits_fn(noise)
        with with_gradients():
            leaf = noise.clone().requires_grad_(True)
            logits = self.logits_fn(leaf)
            if not logits.requires_grad:
                return alone, logits
            (gradient,) = torch.autograd.grad(logits.float().logsumexp(1).sum(), leaf, allow_unused=True)
        return (alone, logits.detach()) if gradient is None else (alone, logits.detach(), gradient)
