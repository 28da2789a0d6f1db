"""What several processes need that Trainer and accelerate leave open."""

from collections.abc import Callable
from functools import partial

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def refuse_unsupported_parallelism(*, sharded: bool, devices: int) -> None:
    """Refuse the ways to train on several devices under which an attack would be wrong.

    Args:
        sharded: whether each process holds a part of the weights alone, as under DeepSpeed and FSDP.
        devices: GPUs that this process computes with.

    Raises:
        ValueError: for sharded weights, or several devices in one process (DataParallel).
    """
    if sharded:
        raise ValueError(
            "sharded training (DeepSpeed, FSDP) is not supported yet: attacks would run on partial weights. "
            "Launch plain data parallelism with `accelerate launch`"
        )
    if devices > 1:
        raise ValueError(
            f"{devices} GPUs in one process would use DataParallel, which the attack cannot see through; "
            "start one process for each GPU with `accelerate launch`, or set CUDA_VISIBLE_DEVICES to one of them"
        )


def model_to_wrap(model: nn.Module, wrapped: nn.Module, processes: int) -> nn.Module:
    """What training shall wrap, though the model was evaluated before.

    ``evaluate`` and ``predict`` leave a mark on the bare model, at which accelerate 1.15 does not wrap it for
    distributed training later: gradients would never be exchanged, and the processes drift apart in silence.

    Args:
        model: the bare model, whose mark is removed where that matters.
        wrapped: what Trainer would go on with.
        processes: how many there are.
    """
    if processes == 1 or isinstance(wrapped, DistributedDataParallel):
        return wrapped
    vars(model).pop("_is_accelerate_prepared", None)
    return model


def mean_over_processes(accelerator: Accelerator) -> Callable[[Tensor], Tensor] | None:
    """What averages a tensor over all processes; None where there is one alone."""
    if accelerator.num_processes == 1:
        return None
    return partial(accelerator.reduce, reduction="mean")


def gradient_scale(accelerator: Accelerator) -> float:
    """Factor of the loss under which gradients in float16 do not vanish; 1 in other precisions."""
    return float(accelerator.scaler.get_scale()) if accelerator.scaler is not None else 1.0


def share_batch_statistics(model: nn.Module) -> None:
    """Give every process the floating-point buffers of the first, after an optimizer step.

    DistributedDataParallel does so with the next forward pass, too late for the teacher, the attack and the
    evaluation, which use the bare model. In a single process nothing happens.
    """
    for buffer in model.buffers():
        if buffer.is_floating_point():
            broadcast(buffer)


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether ``flag`` is set in at least one process; every process must ask."""
    if accelerator.num_processes == 1:
        return flag
    flags = accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum")
    return bool(flags.item() > 0)
