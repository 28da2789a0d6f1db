"""ResNet for small images: the network of the robustness papers' CIFAR tables, as a Hugging Face model.

Unlike the ImageNet ResNet it begins with one 3 × 3 convolution of stride 1 and no max-pooling, so that the last stage
of a 32 px image still has 4 × 4 positions. It is the ResNet-18 of TRADES (Zhang et al. 2019), AWP (Wu et al. 2020) and
ADR (Wu et al., ICLR 2024), with PyTorch's own initialisation, as there.
"""

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.utils.generic import can_return_tuple

from adsr_hf.networks.cifar_resnet_config import CifarResNetConfig

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


def _convolution(in_channels: int, out_channels: int, *, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)


class PostActivationBlock(nn.Module):
    """(B, C, H, W) to (B, C', H / stride, W / stride): two convolutions, added to the input, then the activation."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, out_channels, size=3, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _convolution(out_channels, out_channels, size=3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            projection = _convolution(in_channels, out_channels, size=1, stride=stride)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))
        self.activation = activation()

    def forward(self, hidden: Tensor) -> Tensor:
        """One block; H and W are rounded up when they are divided."""
        inner = self.activation(self.bn1(self.conv1(hidden)))
        return self.activation(self.bn2(self.conv2(inner)) + self.shortcut(hidden))


class PreActivationBlock(nn.Module):
    """The same shapes; normalisation and activation come before each convolution, and nothing after the sum."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _convolution(in_channels, out_channels, size=3, stride=stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = _convolution(out_channels, out_channels, size=3)
        self.projects = stride != 1 or in_channels != out_channels
        if self.projects:
            self.shortcut = _convolution(in_channels, out_channels, size=1, stride=stride)
        self.activation = activation()

    def forward(self, hidden: Tensor) -> Tensor:
        """One block; a projecting shortcut starts from the activated input, the identity from the input itself."""
        activated = self.activation(self.bn1(hidden))
        inner = self.activation(self.bn2(self.conv1(activated)))
        return self.conv2(inner) + (self.shortcut(activated) if self.projects else hidden)


_BLOCKS: dict[str, type[nn.Module]] = {"post_activation": PostActivationBlock, "pre_activation": PreActivationBlock}


class CifarResNetForImageClassification(PreTrainedModel):
    """ResNet with the CIFAR stem and one linear layer on the mean over all positions.

    Images may have any size: the mean takes the place of the papers' 4 × 4 pooling, which it equals at 32 px.

    Args:
        config: see :class:`CifarResNetConfig`.
    """

    config_class = CifarResNetConfig
    main_input_name = "pixel_values"

    def __init__(self, config: CifarResNetConfig) -> None:
        super().__init__(config)
        block, activation = _BLOCKS[config.block], _ACTIVATIONS[config.activation]
        channels = config.hidden_sizes[0]
        stem: list[nn.Module] = [_convolution(config.num_channels, channels, size=3)]
        if config.block == "post_activation":
            stem += [nn.BatchNorm2d(channels), activation()]
        self.stem = nn.Sequential(*stem)
        self.stages = nn.ModuleList()
        for depth, width, stride in zip(config.depths, config.hidden_sizes, config.strides, strict=True):
            blocks = [block(channels, width, stride=stride, activation=activation)]
            blocks += [block(width, width, stride=1, activation=activation) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels = width
        # A pre-activation block leaves its sum to the next block's normalisation; this one follows the last block.
        bare = config.block == "pre_activation"
        self.final = nn.Sequential(nn.BatchNorm2d(channels), activation()) if bare else nn.Sequential()
        self.classifier = nn.Linear(channels, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutput:
        """Classify a batch.

        Args:
            pixel_values: (B, C, H, W) floats; in [-1, 1] with the processor that this package makes. The papers feed
                [0, 1] or a normalisation of their own, which differs by an affine map of the stem's input.
            labels: (B,) int64, for the mean cross-entropy as ``loss``.

        Returns:
            ``logits`` (B, K), and ``loss`` where labels are given.
        """
        hidden = self.stem(pixel_values)
        for stage in self.stages:
            hidden = stage(hidden)
        logits = self.classifier(self.final(hidden).mean(dim=(2, 3)))
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return ImageClassifierOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            # PyTorch's own, which transformers' normal distribution of standard deviation 0.02 would replace.
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        if isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            init.uniform_(module.bias, -bound, bound)
