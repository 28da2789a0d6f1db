"""Models, images and trainers small enough for a test: 16 px, 4 classes, a second or less for a few steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from adsr_hf import ADSRConfig, ADSRTrainer
from adsr_hf.training.position import RunPosition

SIZE, CLASSES = 16, 4
# Different in every channel, so that a swapped channel or a forgotten normalisation shows.
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
# Renamed in transformers 5.23, where the old name warns.
CHECKPOINTING = next(n for n in ("activation_checkpointing", "gradient_checkpointing") if hasattr(ADSRConfig, n))

_PATCHES = {"image_size": SIZE, "patch_size": 4}
_ENCODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_TRANSFORMER = _PATCHES | _ENCODER | {"intermediate_size": 32}
_STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}

_FAMILIES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "vit": (ViTForImageClassification, ViTConfig, _TRANSFORMER),
    "deit": (DeiTForImageClassification, DeiTConfig, _TRANSFORMER),
    "beit": (BeitForImageClassification, BeitConfig, _TRANSFORMER | {"use_relative_position_bias": True}),
    "swin": (
        SwinForImageClassification,
        SwinConfig,
        {"image_size": SIZE, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
    ),
    "dinov2": (Dinov2ForImageClassification, Dinov2Config, _PATCHES | _ENCODER | {"mlp_ratio": 2}),
    "convnext": (ConvNextForImageClassification, ConvNextConfig, _STAGES | {"num_stages": 2, "patch_size": 2}),
    "resnet": (ResNetForImageClassification, ResNetConfig, _STAGES | {"embedding_size": 8, "layer_type": "basic"}),
}
FAMILIES = tuple(_FAMILIES)


def tiny_model(family: str, *, seed: int = 0, **config: Any) -> PreTrainedModel:
    """A randomly initialised classifier of one of FAMILIES, the same for the same seed."""
    model_class, config_class, settings = _FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config_class(**(settings | {"num_labels": CLASSES} | config)))


def tiny_vit(*, seed: int = 0, **config: Any) -> PreTrainedModel:
    """A ViT of 5,620 parameters, without dropout."""
    return tiny_model("vit", seed=seed, **config)


def tiny_processor(**settings: Any) -> ViTImageProcessor:
    """An image processor for SIZE pixels with MEAN and STD."""
    size = {"height": SIZE, "width": SIZE}
    return ViTImageProcessor(**({"size": size, "image_mean": list(MEAN), "image_std": list(STD)} | settings))


class TinyImages(Dataset):
    """Noise around a pattern of its own for each class: learnable within some dozen steps.

    Every image is a function of (seed, index) alone. ``pixels`` holds them in [0, 1], exact multiples of 1/255.
    """

    def __init__(self, length: int = 32, *, seed: int = 0, noise: float = 0.15) -> None:
        # The patterns are those of the classes, whatever the seed of the images.
        patterns = np.random.default_rng(1234).uniform(0.2, 0.8, (CLASSES, 3, SIZE, SIZE))
        self.labels = torch.arange(length) % CLASSES
        images = [
            patterns[index % CLASSES] + noise * np.random.default_rng((seed, index)).standard_normal((3, SIZE, SIZE))
            for index in range(length)
        ]
        bytes_ = np.clip(np.rint(np.stack(images) * 255), 0, 255).astype(np.uint8)
        self.pixels = torch.from_numpy(bytes_).float() / 255
        self.pixel_values = (self.pixels - channels(MEAN)) / channels(STD)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": self.pixel_values[index], "labels": int(self.labels[index])}

    def batch(self, start: int = 0, stop: int | None = None) -> dict[str, Tensor]:
        """Rows as one collated batch."""
        rows = slice(start, stop)
        return {"pixel_values": self.pixel_values[rows].clone(), "labels": self.labels[rows].clone()}


def channels(values: tuple[float, ...]) -> Tensor:
    """Numbers of each channel, ready to broadcast over (B, C, H, W)."""
    return torch.tensor(values)[:, None, None]


def tiny_config(output_dir: str | Path, **config: Any) -> ADSRConfig:
    """ADSR with a cheap attack, on the CPU, that neither saves nor reports anything unless asked."""
    defaults: dict[str, Any] = {
        "use_cpu": True,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 16,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "attack_steps": 2,
        "eval_attack_steps": 2,
        "teacher_decay": 0.9,
        "seed": 0,
    }
    return ADSRConfig(output_dir=str(output_dir), **(defaults | config))


def tiny_trainer(
    output_dir: str | Path,
    *,
    model: nn.Module | None = None,
    model_init: Callable[[], nn.Module] | None = None,
    train_dataset: Any = None,
    eval_dataset: Any = None,
    processing_class: Any = None,
    callbacks: list[Any] | None = None,
    compute_metrics: Any = None,
    preprocess_logits_for_metrics: Any = None,
    trainer_class: type[ADSRTrainer] = ADSRTrainer,
    **config: Any,
) -> ADSRTrainer:
    """A trainer on TinyImages; ``config`` goes to ADSRConfig. Without a model it gets ``tiny_vit()``."""
    if model is None and model_init is None:
        model = tiny_vit()
    return trainer_class(
        model=model,
        model_init=model_init,
        args=tiny_config(output_dir, **config),
        train_dataset=TinyImages(32) if train_dataset is None else train_dataset,
        eval_dataset=TinyImages(24, seed=1) if eval_dataset is None else eval_dataset,
        processing_class=tiny_processor() if processing_class is None else processing_class,
        callbacks=callbacks,
        compute_metrics=compute_metrics,
        preprocess_logits_for_metrics=preprocess_logits_for_metrics,
    )


def position_of(trainer: ADSRTrainer) -> RunPosition:
    """Where the trainer's run stands."""
    return trainer.run.position(trainer.state, trainer.callback_handler.train_dataloader)
