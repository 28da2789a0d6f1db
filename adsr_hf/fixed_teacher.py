"""A teacher that does not learn: another checkpoint, whose outputs rectify the labels."""

from typing import Any

from torch import nn
from transformers import AutoModelForImageClassification

import adsr_hf.networks  # noqa: F401  (transformers knows its architectures from then on)


def load_fixed_teacher(name: str, student: nn.Module) -> nn.Module:
    """The checkpoint's model, frozen and in eval mode; remote code is never run.

    Args:
        name: a Hub name, or a folder.
        student: the model that will learn from it.

    Raises:
        ValueError: when it cannot be loaded, or has other classes than the student.
    """
    try:
        teacher = AutoModelForImageClassification.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(f"fixed_teacher={name!r} cannot be loaded as an image classifier: {error}") from error
    config: Any = student.config
    theirs, own = dict(teacher.config.id2label), dict(config.id2label)
    if theirs != own:
        raise ValueError(
            f"fixed_teacher={name!r} has the classes {list(theirs.values())}, the model {list(own.values())}; both "
            "must have the same, in the same order"
        )
    return teacher.float().eval().requires_grad_(False)
