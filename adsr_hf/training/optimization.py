"""Learning rates: by depth, and dropping in steps; and the perturbation of weights that a run asks for."""

from bisect import bisect_right
from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from adsr_hf.config import ADSRConfig
from adsr_hf.fine_tuning.layer_decay import SCALE, learning_rate_scales, split_groups
from adsr_hf.method.weight_perturbation import WeightPerturbation

DROP = 0.1


def split_by_depth(optimizer: Optimizer, model: nn.Module, layer_decay: float, *, given: bool) -> None:
    """Split the groups of an optimizer by depth, each with a learning rate of its own, as ``layer_decay`` says.

    Args:
        optimizer: its ``param_groups`` are replaced.
        model: whose parameters it holds.
        layer_decay: factor from one layer to the one below, in (0, 1]; 1 leaves the groups as they are.
        given: whether the user made the optimizer, whose groups must then be split already.

    Raises:
        ValueError: when the groups cannot be split: an optimizer of the user's own, or one that hides parameters.
    """
    if layer_decay == 1:
        return
    if given:
        if SCALE not in optimizer.param_groups[0]:
            raise ValueError(
                f"layer_decay={layer_decay:g} does not go with an optimizer of your own, whose groups are yours to "
                "choose; leave it out, and split them with adsr_hf.fine_tuning.layer_decay.split_groups"
            )
        return
    scales = learning_rate_scales(model, layer_decay)
    optimizer.param_groups[:] = split_groups(optimizer.param_groups, model, scales)


def dropping_schedule(optimizer: Optimizer, drops: Sequence[float], *, steps: int) -> LRScheduler:
    """A learning rate that is divided by 10 at each of ``drops``, as shares of ``steps`` optimizer steps."""
    milestones = [round(share * steps) for share in drops]
    # A function of the step, as Trainer's own: a checkpoint's schedule may be continued with other milestones.
    return LambdaLR(optimizer, lambda step: DROP ** bisect_right(milestones, step))


def weight_perturbation_for(args: ADSRConfig, model: nn.Module) -> WeightPerturbation | None:
    """What moves the weights of the bare ``model`` before each step's gradient; None where nothing does."""
    kind = args.weight_perturbation
    if kind == "none":
        return None
    return WeightPerturbation(model, radius=args.weight_perturbation_radius, every_tensor=kind == "layerwise_sam")
