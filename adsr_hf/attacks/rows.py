"""An image's outcome must not depend on which images stand beside it, down to the last bit.

Matrix products choose their order of summation by their shape, so that a batch of 37 gives other bits than one of 500.
Everything here therefore runs in blocks of one fixed number of rows.
"""

import torch
from torch import Tensor

from adsr_hf.attacks.pgd import LogitsFunction

ROWS = 32


def pad_rows(tensor: Tensor) -> Tensor:
    """The tensor with its last row repeated up to a multiple of :data:`ROWS`.

    Args:
        tensor: (B, ...), B at least 1.
    """
    missing = -len(tensor) % ROWS
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor


def row_independent(logits_fn: LogitsFunction) -> LogitsFunction:
    """The same function, called on exactly :data:`ROWS` rows at a time; gradients flow through it.

    Args:
        logits_fn: maps (B, C, H, W) pixels to (B, K) logits, each row from its own image alone.
    """

    def in_blocks(pixels: Tensor) -> Tensor:
        padded = pad_rows(pixels)
        blocks = [logits_fn(block) for block in padded.split(ROWS)]
        return torch.cat(blocks)[: len(pixels)]

    return in_blocks
