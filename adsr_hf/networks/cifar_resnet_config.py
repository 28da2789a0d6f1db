"""Configuration of the CIFAR ResNet."""

from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig

from adsr_hf.settings.checks import at_least, one_of

BLOCKS = ("post_activation", "pre_activation")
ACTIVATIONS = ("relu", "silu")


class CifarResNetConfig(PretrainedConfig):
    """Describes a :class:`~adsr_hf.networks.CifarResNetForImageClassification`; the default is ResNet-18 for 32 px.

    Args:
        num_channels: of the images, at least 1.
        depths: blocks of each stage, each at least 1.
        hidden_sizes: channels of each stage, each at least 1; the stem has those of the first.
        strides: of each stage's first block, each at least 1; 1, 2, 2, 2 leaves 4 × 4 positions of a 32 px image.
        block: ``"post_activation"`` (ResNet: He et al. 2016, arXiv 1512.03385) or ``"pre_activation"``
            (PreAct-ResNet: He et al. 2016, arXiv 1603.05027).
        activation: ``"relu"``, or ``"silu"``, which papers also call Swish.
        kwargs: fields of ``transformers.PretrainedConfig``, such as ``num_labels`` and ``id2label``.

    Raises:
        ValueError: when the lists differ in length or a value is not allowed.
    """

    model_type = "adsr_cifar_resnet"

    def __init__(
        self,
        *,
        num_channels: int = 3,
        depths: Sequence[int] = (2, 2, 2, 2),
        hidden_sizes: Sequence[int] = (64, 128, 256, 512),
        strides: Sequence[int] = (1, 2, 2, 2),
        block: str = "post_activation",
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        at_least("num_channels", num_channels, 1, fix="colour images have 3")
        one_of("block", block, BLOCKS)
        one_of("activation", activation, ACTIVATIONS)
        stages = {"depths": depths, "hidden_sizes": hidden_sizes, "strides": strides}
        if len({len(values) for values in stages.values()}) > 1 or not depths:
            raise ValueError(
                ", ".join(f"{name}={list(values)}" for name, values in stages.items())
                + " must have one number for each stage, and at least one stage; ResNet-18 has depths=[2, 2, 2, 2], "
                "hidden_sizes=[64, 128, 256, 512] and strides=[1, 2, 2, 2]"
            )
        for name, values in stages.items():
            for value in values:
                at_least(name, value, 1, fix="each stage has its own")
        self.num_channels = num_channels
        self.depths = list(depths)
        self.hidden_sizes = list(hidden_sizes)
        self.strides = list(strides)
        self.block = block
        self.activation = activation
        super().__init__(**kwargs)
