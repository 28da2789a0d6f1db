"""What an evaluation refuses, and in which words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from adsr_hf.attacks.batch_invariance import ROWS
from adsr_hf.evaluation.driver import finite
from adsr_hf.evaluation.plan import Plan
from adsr_hf.records.disk_errors import WriteError


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Raise ValueError where a label, (N,) int64, is not one of the model's classes."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels run from {low} to {high}, but the model has classes 0 to {num_classes - 1}; measure it on images "
            "of its own classes"
        )


def check_class_names(names: Sequence[str], num_classes: int, positive_class: str | None) -> None:
    """Raise ValueError where names are not one for each class, or ``positive_class`` is not one of two."""
    if len(names) != num_classes:
        raise ValueError(f"class_names={list(names)} must be {num_classes} names, one for each class of the model")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"class_names holds {twice} more than once, so that figures could not name a class; rename")
    if positive_class is None:
        return
    if num_classes != 2:
        raise ValueError(
            f"positive_class={positive_class!r} is for two classes, and the model has {num_classes}; leave it out: "
            "every class has its own accuracy"
        )
    if positive_class not in names:
        raise ValueError(f"positive_class={positive_class!r} must be one of the two classes {list(names)}")


def refuse_probabilities(outputs: Tensor) -> None:
    """Raise ValueError where outputs, (B, K), are a softmax's already, or not finite."""
    outputs = finite(outputs.detach())
    if ((outputs >= 0) & (outputs <= 1)).all() and torch.allclose(
        outputs.sum(1), torch.ones(len(outputs)).to(outputs)
    ):
        raise ValueError(
            "the model's outputs lie in [0, 1] and sum to 1: they are probabilities, not logits, and attacks on "
            "them would be blind. Return the values before the softmax"
        )


@contextmanager
def memory_named(plan: Plan) -> Iterator[None]:
    """Turn running out of memory into a MemoryError that says what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryError(_too_large(plan, error)) from error
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise MemoryError(_too_large(plan, error)) from error


@contextmanager
def finished_work_named(folder: Path | None) -> Iterator[None]:
    """Add to a WriteError that what is finished is kept in ``folder``, where there is one."""
    try:
        yield
    except WriteError as error:
        if folder is None:
            raise
        kept = f"What is finished is kept in {folder}, and the same command continues"
        raise WriteError(error.path, error.reason, kept, error.errno) from error


def _too_large(plan: Plan, error: BaseException) -> str:
    return (
        f"batch_size={plan.batch_size} does not fit into memory ({str(error).splitlines()[0]}); lower it, no figure "
        f"depends on it. The network itself sees {ROWS} images at a time, and restarts run one after another"
    )
