"""Low-rank adapters through PEFT: what is trained, what is kept of it, and the ordinary network that is published."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from adsr_hf.networks.adapted import merged_copy

__all__ = ["add_adapters", "merged_copy"]

# The attention's query and value, as in the paper, by the names that transformers gives them.
ALL = "all"
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
_QUERY_AND_VALUE = (("q_proj", "v_proj"), ("query", "value"))


def add_adapters(
    model: PreTrainedModel,
    *,
    rank: int,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: Sequence[str] | None = None,
    train_norms: bool = False,
) -> Any:
    """Freeze a classifier, and add what is trained in its place: low-rank adapters, and the head as a whole.

    Hu et al., *LoRA* (arXiv 2106.09685), equation 3: h = W₀x + (α / r) BAx with B = 0 at the start, so that the logits
    are unchanged at first.

    Args:
        model: an image classifier; it becomes part of the result.
        rank: r, at least 1.
        alpha: α; None = the rank, a scale of 1.
        dropout: of the adapters' input, in [0, 1).
        targets: names of linear or convolutional modules, or ends of their names; ``["all"]`` = every linear module
            before the head; None = the attention's query and value.
        train_norms: whether normalisation layers are trained as a whole, as the head is.

    Returns:
        a ``peft.PeftModel``.

    Raises:
        ImportError: when PEFT is not installed.
        ValueError: when targets match nothing, or there is no attention to take by default.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise ImportError(
            f"lora_rank={rank} needs PEFT, which is not installed: pip install 'adsr-hf[lora]'"
        ) from None
    head = [name for name, _ in model.named_children() if name == "classifier"]
    if not head:
        raise ValueError(
            f"LoRA trains the head as a whole, and {type(model).__name__} has no module 'classifier'; use another "
            "architecture, or freeze instead of lora_rank"
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules=_checked_targets(model, targets),
        modules_to_save=head + (_norms(model) if train_norms else []),
    )
    return get_peft_model(model, config)


def _norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, _NORMS) and name != "classifier"]


def _checked_targets(model: nn.Module, targets: Sequence[str] | None) -> list[str]:
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    inner = [name for name in names if name.split(".")[0] != "classifier"]
    ends = list(dict.fromkeys(name.rpartition(".")[2] for name in inner if not name.rpartition(".")[2].isdigit()))
    if targets is None:
        for pair in _QUERY_AND_VALUE:
            if set(pair) <= set(ends):
                return list(pair)
        raise ValueError(
            f"{type(model).__name__} has no attention whose query and value could be adapted; name lora_targets "
            f"among: {', '.join(ends)}"
        )
    if list(targets) == [ALL]:
        linear = [name for name in inner if isinstance(model.get_submodule(name), nn.Linear)]
        if not linear:
            raise ValueError(
                f"lora_targets='all' stands for the linear modules before the head, and {type(model).__name__} has "
                f"none; name some among: {', '.join(ends)}"
            )
        return linear
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in inner):
            raise ValueError(
                f"lora_targets={target!r} matches no linear or convolutional module before the head of "
                f"{type(model).__name__}, which has: {', '.join(ends)}"
            )
    return list(targets)
