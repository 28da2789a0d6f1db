"""How long a suggested run takes here: one batch on the suggested network, and the counts of the photos."""

import math
from pathlib import Path

import torch
from PIL import Image

from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.onboarding.photos import Photos
from adsr_hf.runs.estimate import Workload, guessed_speed
from adsr_hf.runs.model import load_model, load_processor
from adsr_hf.runs.recipe import Recipe


def expected_seconds(recipe: Recipe, photos: Photos) -> float:
    """Seconds of the whole run, evaluations included; a guess from one batch of random images.

    Raises:
        ValueError: when the recipe's model cannot be built or loaded.
    """
    config = recipe.config
    processor = load_processor(recipe.model)
    model = load_model(recipe.model, list(photos.counts)).model
    shape = processor(images=Image.new("RGB", (256, 256)), return_tensors="pt")["pixel_values"].shape[1:]
    batch = min(config.train_batch_size, photos.images["train"])
    pixels = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0))
    speed = guessed_speed(model, config, PixelSpace.from_processor(processor), pixels)
    steps = math.ceil(math.ceil(photos.images["train"] / batch) * config.num_train_epochs)
    every = max(1, math.ceil(float(config.eval_steps or 1) * steps))
    workload = Workload(
        steps=steps,
        images_in_step=batch,
        evaluate_every=every,
        evaluates_at_end=False,
        validation_images=photos.images.get("validation", 0),
        final_images=photos.images.get("test", 0),
    )
    return workload.seconds(speed)


def default_path(photos: str) -> Path:
    """The recipe beside the working directory, named after the folder."""
    return Path(f"{Path(photos).absolute().name}.yaml")
