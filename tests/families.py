"""One small network of every image-classification class of transformers, or why there is none."""

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from tests.tiny import CLASSES

SIDE = 32

_ENCODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_VIT = _ENCODER | {"image_size": SIDE, "patch_size": 8}
_TOWERS = {"text_config": _ENCODER | {"vocab_size": 99}, "vision_config": _VIT}
_STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
_SWIN = {"image_size": SIDE, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
_CONVNEXT = _STAGES | {"num_stages": 2, "patch_size": 4}
_PERCEIVER = {
    "num_latents": 4,
    "d_latents": 16,
    "num_blocks": 1,
    "num_self_attends_per_block": 1,
    "num_self_attention_heads": 2,
    "num_cross_attention_heads": 1,
    "d_model": 16,
    "image_size": SIDE,
}
_PYRAMID = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
}
_MOBILE = {"image_size": SIDE, "output_stride": 8, "hidden_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}


@dataclass(frozen=True)
class Family:
    """A class that trains.

    Attributes:
        config: fields of a small network's config, beside the number of classes.
        side: of its images, in pixels.
        checkpoints: whether it supports activation checkpointing.
        needs: a package beside transformers.
    """

    config: dict[str, Any] = field(default_factory=dict)
    side: int = SIDE
    checkpoints: bool = True
    needs: str | None = None


TRAINED = {
    "BeitForImageClassification": Family(_VIT | {"use_relative_position_bias": True}),
    "BitForImageClassification": Family(
        _STAGES | {"embedding_size": 8, "num_groups": 4, "layer_type": "preactivation"}, checkpoints=False
    ),
    "CLIPForImageClassification": Family(_TOWERS),
    "ConvNextForImageClassification": Family(_CONVNEXT, checkpoints=False),
    "ConvNextV2ForImageClassification": Family(_CONVNEXT, checkpoints=False),
    "CvtForImageClassification": Family(
        {"embed_dim": [8, 16, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
        checkpoints=False,
    ),
    "Data2VecVisionForImageClassification": Family(_VIT | {"use_relative_position_bias": True}),
    "DeiTForImageClassification": Family(_VIT),
    "DinatForImageClassification": Family(
        {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "kernel_size": 3, "dilations": [[1], [1]]},
        checkpoints=False,
        needs="natten",
    ),
    "Dinov2ForImageClassification": Family(_VIT | {"mlp_ratio": 2}),
    "Dinov2WithRegistersForImageClassification": Family(_VIT | {"mlp_ratio": 2, "num_register_tokens": 2}),
    "DonutSwinForImageClassification": Family(_SWIN),
    "EfficientNetForImageClassification": Family(
        {
            "image_size": SIDE,
            "width_coefficient": 0.25,
            "in_channels": [32, 16],
            "out_channels": [16, 24],
            "kernel_sizes": [3, 3],
            "strides": [1, 2],
            "num_block_repeats": [1, 1],
            "expand_ratios": [1, 2],
            "depthwise_padding": [],
            "hidden_dim": 320,
            "dropout_rate": 0.0,
            "drop_connect_rate": 0.0,
        },
        checkpoints=False,
    ),
    "FocalNetForImageClassification": Family(
        {
            "image_size": SIDE,
            "embed_dim": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "focal_levels": [2, 2],
            "focal_windows": [3, 3],
        }
    ),
    "HGNetV2ForImageClassification": Family(
        {
            "embedding_size": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "stem_channels": [3, 8, 8],
            "stage_in_channels": [8, 8],
            "stage_mid_channels": [8, 8],
            "stage_out_channels": [8, 16],
            "stage_num_blocks": [1, 1],
            "stage_downsample": [False, True],
            "stage_light_block": [False, True],
            "stage_kernel_size": [3, 3],
            "stage_numb_of_layers": [2, 2],
        },
        checkpoints=False,
    ),
    "HieraForImageClassification": Family(
        {
            "image_size": [SIDE, SIDE],
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "query_stride": [2, 2],
            "masked_unit_size": [4, 4],
            "masked_unit_attention": [True, False],
            "num_query_pool": 1,
        }
    ),
    "IJepaForImageClassification": Family(_VIT),
    "LevitForImageClassification": Family(
        {
            "image_size": 2 * SIDE,
            "hidden_sizes": [16, 16, 16],
            "num_attention_heads": [1, 1, 1],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        side=2 * SIDE,
        checkpoints=False,
    ),
    "MetaClip2ForImageClassification": Family(_TOWERS),
    "MobileNetV1ForImageClassification": Family({"image_size": SIDE, "depth_multiplier": 0.1}, checkpoints=False),
    "MobileNetV2ForImageClassification": Family({"image_size": SIDE, "depth_multiplier": 0.1}, checkpoints=False),
    "MobileViTForImageClassification": Family(
        _MOBILE
        | {
            "hidden_sizes": [16, 16, 16],
            "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
            "num_attention_heads": 2,
        }
    ),
    "MobileViTV2ForImageClassification": Family(
        _MOBILE | {"width_multiplier": 0.1, "n_attn_blocks": [1, 1, 1], "base_attn_unit_dims": [64, 64, 64]}
    ),
    "PerceiverForImageClassificationLearned": Family(_PERCEIVER, checkpoints=False),
    "PerceiverForImageClassificationFourier": Family(_PERCEIVER | {"d_model": 261}, side=224, checkpoints=False),
    "PerceiverForImageClassificationConvProcessing": Family(
        _PERCEIVER | {"d_model": 322}, side=224, checkpoints=False
    ),
    "PoolFormerForImageClassification": Family(_PYRAMID, checkpoints=False),
    "PvtForImageClassification": Family(_PYRAMID | {"image_size": SIDE}, checkpoints=False),
    "PvtV2ForImageClassification": Family(_PYRAMID | {"image_size": SIDE}),
    "RegNetForImageClassification": Family(_STAGES | {"embedding_size": 8, "groups_width": 8}, checkpoints=False),
    "ResNetForImageClassification": Family(_STAGES | {"embedding_size": 8, "layer_type": "basic"}, checkpoints=False),
    "SegformerForImageClassification": Family(_PYRAMID),
    "SiglipForImageClassification": Family(_TOWERS),
    "SwiftFormerForImageClassification": Family({"depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]}),
    "SwinForImageClassification": Family(_SWIN),
    "Swinv2ForImageClassification": Family(_SWIN),
    "TextNetForImageClassification": Family(checkpoints=False),
    "TimmWrapperForImageClassification": Family(
        {"architecture": "resnet18", "model_args": {"in_chans": 3}}, checkpoints=False, needs="timm"
    ),
    "ViTForImageClassification": Family(_VIT),
    "ViTMSNForImageClassification": Family(_VIT),
}

# What their refusal says.
REFUSED = {
    "DeiTForImageClassificationWithTeacher": "averages two heads and is for inference only; train DeiTFor",
    "ImageGPTForImageClassification": "takes the number of each pixel's nearest colour .* instead of images",
    "LevitForImageClassificationWithTeacher": "averages two heads and is for inference only; train LevitFor",
    "PPLCNetForImageClassification": "gives its scores as last_hidden_state, and no logits, so that",
    "ShieldGemma2ForImageClassification": "takes a question in words .* instead of images",
    "Siglip2ForImageClassification": "takes patches of images of any shape .* such as vit or siglip",
}

# Of these the settings that make one small enough to be refused; they are never trained.
_REFUSED_CONFIGS: dict[str, dict[str, Any]] = {
    "DeiTForImageClassificationWithTeacher": _VIT,
    "ImageGPTForImageClassification": {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 4, "vocab_size": 8},
    "LevitForImageClassificationWithTeacher": TRAINED["LevitForImageClassification"].config,
    "PPLCNetForImageClassification": {"scale": 0.1},
    "ShieldGemma2ForImageClassification": {
        "text_config": _ENCODER | {"vocab_size": 99, "head_dim": 8, "num_key_value_heads": 1},
        "vision_config": _VIT,
        "mm_tokens_per_image": 16,
    },
    "Siglip2ForImageClassification": {
        "text_config": _ENCODER | {"vocab_size": 99},
        "vision_config": _ENCODER | {"patch_size": 8, "num_patches": 16},
    },
}


def build(name: str, *, seed: int = 0, num_labels: int = CLASSES) -> PreTrainedModel:
    """A random network of a class of TRAINED or REFUSED, the same for the same seed."""
    model_class: Any = getattr(transformers, name)
    settings = TRAINED[name].config if name in TRAINED else _REFUSED_CONFIGS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(model_class.config_class(num_labels=num_labels, **settings))
        for parameter in model.parameters():
            # As they are drawn, many of these networks say nearly the same of any image.
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        if name in TRAINED:
            _settle_statistics(model, TRAINED[name].side)
    return model


@torch.no_grad()
def _settle_statistics(model: PreTrainedModel, side: int) -> None:
    """As after some training, batch normalisation neither blows up nor shrinks what it gets in eval mode."""
    norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.momentum = 1.0
    if norms:
        model.train()(pixel_values=torch.randn(8, 3, side, side))
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum
