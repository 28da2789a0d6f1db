"""Models that cut the gradient to their input: an attack must run on them and find nothing, not stop."""

import torch
from torch import Tensor

from adsr_hf.attacks.pgd import LogitsFunction, with_gradients


def with_gradient_path(logits_fn: LogitsFunction) -> LogitsFunction:
    """The same function, whose logits carry a gradient of zero where the model cut it off.

    A model that detaches its input is the plainest masking there is: it must be attacked and fail, not raise.
    """

    def with_path(pixels: Tensor) -> Tensor:
        logits = logits_fn(pixels)
        if not (pixels.requires_grad and torch.is_grad_enabled()):
            return logits
        # Added to logits with a gradient too, for it may lead elsewhere than to the pixels.
        return logits + (0 * pixels.flatten(1).sum(1, keepdim=True)).to(logits.dtype)

    return with_path


def has_gradient_path(logits_fn: LogitsFunction, pixels: Tensor) -> bool:
    """Whether autograd leads from the logits of these pixels, (B, C, H, W) in [0, 1], back to them.

    It may still be zero everywhere, as behind a layer that rounds.
    """
    with with_gradients():
        leaf = pixels.detach().clone().requires_grad_(True)
        logits = logits_fn(leaf)
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.float().sum(), leaf, allow_unused=True)
    return gradient is not None
