"""A teacher that does not learn: another checkpoint, whose outputs rectify the labels."""

from typing import Any

from torch import nn

from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.networks.pretrained import load_classifier, load_image_processor


def load_fixed_teacher(name: str, student: nn.Module, pixel_space: PixelSpace) -> nn.Module:
    """The checkpoint's model, frozen and in eval mode.

    Args:
        name: a Hub name, or a folder.
        student: the model that will learn from it.
        pixel_space: how the student's images are normalised, which the teacher is shown as they are.

    Raises:
        ValueError: when it cannot be loaded, has other classes than the student, or wants another normalisation.
    """
    try:
        teacher = load_classifier(name)
        wanted = PixelSpace.from_processor(load_image_processor(name))
    except ValueError as error:
        raise ValueError(
            f"fixed_teacher={name!r} cannot be loaded as an image classifier with its image processor: {error}"
        ) from error
    if wanted != pixel_space:
        raise ValueError(
            f"fixed_teacher={name!r} expects images under {wanted}, and the student gets them under {pixel_space}: "
            "its answers would be about other images. Train the student with the teacher's image processor"
        )
    config: Any = student.config
    teacher_names, student_names = dict(teacher.config.id2label), dict(config.id2label)
    if teacher_names != student_names:
        raise ValueError(
            f"fixed_teacher={name!r} has the classes {list(teacher_names.values())}, the model "
            f"{list(student_names.values())}; both must have the same, in the same order"
        )
    return teacher.float().eval().requires_grad_(False)
