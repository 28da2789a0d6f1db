"""What several processes need that Trainer and accelerate leave open."""

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer


def refuse_unsupported_parallelism(trainer: Trainer) -> None:
    """Refuse the ways to train on several devices under which an attack would be wrong.

    Raises:
        ValueError: under DeepSpeed, FSDP or DataParallel.
    """
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled or trainer.is_distributed_loading_by_transformers:
        raise ValueError(
            "sharded training (DeepSpeed, FSDP) is not supported yet: attacks would run on partial weights. "
            "Launch plain data parallelism with `accelerate launch`"
        )
    if trainer.args.n_gpu > 1:
        raise ValueError(
            f"{trainer.args.n_gpu} GPUs in one process would use DataParallel, which the attack cannot see through; "
            "start one process for each GPU with `accelerate launch`, or set CUDA_VISIBLE_DEVICES to one of them"
        )


def forget_evaluation(trainer: Trainer) -> None:
    """Let training wrap a model that was evaluated before.

    ``evaluate`` and ``predict`` leave a mark on the bare model, at which accelerate 1.15 does not wrap it for
    distributed training later: gradients would never be exchanged, and the processes drift apart in silence.
    """
    if trainer.args.world_size > 1 and not isinstance(trainer.model_wrapped, DistributedDataParallel):
        trainer.model_wrapped = trainer.model
        vars(trainer.model).pop("_is_accelerate_prepared", None)


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
