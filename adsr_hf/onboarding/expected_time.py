"""How long a suggested run takes here: one batch on the suggested network, and the counts of the photos."""

import torch

from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.onboarding.input_size import input_shape
from adsr_hf.onboarding.photos import Photos
from adsr_hf.runs.estimate import guessed_speed
from adsr_hf.runs.model import load_model, load_processor
from adsr_hf.runs.recipe import Recipe
from adsr_hf.runs.summary import workload_of


def expected_seconds(recipe: Recipe, photos: Photos) -> float:
    """Seconds of the whole run, evaluations and calibration included; a guess from one batch of random images.

    Raises:
        ValueError: when the recipe's model cannot be built or loaded.
    """
    config = recipe.config
    model = load_model(recipe.model, list(photos.counts)).model
    space = PixelSpace.from_processor(load_processor(recipe.model))
    batch = min(config.train_batch_size, photos.images["train"])
    pixels = torch.rand(batch, *input_shape(recipe.model), generator=torch.Generator().manual_seed(0))
    sizes = {split: photos.images.get(split, 0) for split in ("train", "validation", "test")}
    return workload_of(config, **sizes).seconds(guessed_speed(model, config, space, pixels))
