"""The model, images and trainer that the benchmarks share: ADSRTrainer's own code, one optimizer step at a time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from adsr_hf import ADSRConfig, ADSRTrainer
from adsr_hf.attacks import PixelSpace

# More than any benchmark takes; the schedules need a length.
TOTAL_STEPS = 1000


@dataclass(frozen=True)
class Workload:
    """A vision transformer, its images (3 channels) and the attack on them."""

    hidden_size: int = 192
    layers: int = 6
    heads: int = 3
    mlp_ratio: int = 4
    image_size: int = 32
    patch_size: int = 4
    classes: int = 10
    batch_size: int = 64
    attack_steps: int = 10
    initializer_range: float = 0.02


SMOKE = Workload(hidden_size=16, layers=1, heads=2, image_size=8, batch_size=4, attack_steps=2)
# The model and attack of recipes/digits/vit_adsr.yaml.
DIGITS = Workload(
    hidden_size=48, layers=3, mlp_ratio=2, image_size=8, patch_size=2, attack_steps=5, initializer_range=0.1
)


def make_model(workload: Workload, *, seed: int) -> PreTrainedModel:
    """A randomly initialised ViT, the same for the same seed."""
    torch.manual_seed(seed)
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=workload.hidden_size,
            num_hidden_layers=workload.layers,
            num_attention_heads=workload.heads,
            intermediate_size=workload.mlp_ratio * workload.hidden_size,
            image_size=workload.image_size,
            patch_size=workload.patch_size,
            num_labels=workload.classes,
            initializer_range=workload.initializer_range,
        )
    )


def make_processor(image_size: int) -> ViTImageProcessorPil:
    """An image processor that maps pixels to [-1, 1]."""
    return ViTImageProcessorPil(size={"height": image_size, "width": image_size})


def make_space(workload: Workload) -> PixelSpace:
    """The normalisation of :func:`make_processor`."""
    return PixelSpace.from_processor(make_processor(workload.image_size))


def make_images(workload: Workload, *, seed: int, batch: int = 0) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, H, W) in [0, 1], whole grey levels, and labels (B,): a coarse pattern for each class, and noise.

    Args:
        seed: of the patterns.
        batch: a number that makes other images of the same classes.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(workload.classes, 3, 4, 4, generator=generator)
    patterns = torch.nn.functional.interpolate(coarse, size=workload.image_size, mode="bilinear")
    generator.manual_seed(seed + 1 + batch)
    labels = torch.randint(workload.classes, (workload.batch_size,), generator=generator)
    noise = torch.randn(workload.batch_size, *patterns.shape[1:], generator=generator)
    pixels = (0.3 + 0.4 * patterns[labels] + 0.1 * noise).clamp(0, 1)
    return (pixels * 255).round() / 255, labels


def make_batch(workload: Workload, *, seed: int, batch: int = 0) -> dict[str, Tensor]:
    """:func:`make_images` as a collated batch for :func:`make_processor`'s normalisation."""
    pixels, labels = make_images(workload, seed=seed, batch=batch)
    return {"pixel_values": make_space(workload).to_pixel_values(pixels), "labels": labels}


def first_images(batch: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The first ``count`` images of a collated batch."""
    return {name: values[:count] for name, values in batch.items()}


def make_trainer(
    output_dir: str, model: PreTrainedModel, workload: Workload, *, seed: int, train_dataset: Any = None, **config: Any
) -> ADSRTrainer:
    """A trainer at the beginning of a run: optimizer, schedule and, for ADSR, teacher are there."""
    settings: dict[str, Any] = {
        "use_cpu": True,
        "max_steps": TOTAL_STEPS,
        "per_device_train_batch_size": workload.batch_size,
        "attack_steps": workload.attack_steps,
        "learning_rate": 1e-3,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": seed,
    }
    trainer = ADSRTrainer(
        model,
        ADSRConfig(output_dir=output_dir, **(settings | config)),
        train_dataset=train_dataset,
        processing_class=make_processor(workload.image_size),
    )
    trainer.state.max_steps = TOTAL_STEPS
    trainer.create_optimizer_and_scheduler(num_training_steps=TOTAL_STEPS)
    trainer.model_wrapped, trainer.optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.current_gradient_accumulation_steps = 1
    trainer.begin_run()
    return trainer


def whole_step(trainer: ADSRTrainer, batch: dict[str, Tensor]) -> None:
    """What Trainer's loop does for one optimizer step, without loading, logging and saving."""
    model = trainer.model_wrapped
    trainer.training_step(model, batch)
    trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    trainer.run.after_optimizer_step(trainer.model, trainer.state)
    trainer.lr_scheduler.step()
    model.zero_grad()
    trainer.state.global_step += 1


def training_figure(trainer: ADSRTrainer, name: str) -> float:
    """Mean over all images so far of a figure that the trainer logs."""
    names, totals = trainer.run.method_step.meters.totals(torch.device("cpu"))
    *sums, images, _ = totals.tolist()
    return sums[names.index(name)] / images
