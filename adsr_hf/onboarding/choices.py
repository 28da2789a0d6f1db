"""What is suggested for a set of photos: each setting with its reason."""

from dataclasses import dataclass
from typing import Any

from adsr_hf.onboarding.photos import Photos

# Optimizer steps that a small network from scratch needs on a thousand photos (recipes/inspection), and a checkpoint.
_STEPS_FROM_SCRATCH, _STEPS_FINE_TUNING = 1250, 600
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 100
# Photos of at most so many pixels a side are worked on at 32 px, as CIFAR's.
_TINY = 48


@dataclass(frozen=True)
class Choice:
    """One line of a recipe.

    Attributes:
        name: of the field.
        value: as YAML has it.
        reason: one or two sentences.
    """

    name: str
    value: Any
    reason: str


def choices(photos: Photos, *, model: str | None, model_side: int = 0) -> dict[str, list[Choice]]:
    """Heading to its choices, in the order of a recipe.

    Args:
        model: a checkpoint to start from; None = a small network from scratch.
        model_side: of the images that the checkpoint takes, in pixels.
    """
    side = model_side if model is not None else 32 if photos.side <= _TINY else 64
    batch = _batch(photos.images["train"])
    return {
        "what is trained, against what": _method(side, model),
        "how it is measured while training": _measuring(),
        "images": _images(photos, side),
        "network": _network(photos, side, model),
        "training": _training(photos, batch, model),
    }


def _method(side: int, model: str | None) -> list[Choice]:
    radius = "8/255" if side == 32 and model is None else "4/255"
    threat = Choice(
        "epsilon",
        radius,
        f"The attacker may change every value by {radius.partition('/')[0]} of 255 grey levels: usual at this size. "
        "Choose the smallest that covers what your camera or an attacker does.",
    )
    if model is not None:
        words = "For a checkpoint that is not robust, which nearly all are; see docs/fine_tuning.md for what it sets."
        return [
            Choice("preset", "fine_tune", words),
            threat,
            Choice("attack_steps", 3, "More cost time in proportion."),
        ]
    return [
        Choice("method", "adsr", "Labels softened by the run's own average; compare with --method pgd_at and clean."),
        threat,
        Choice("epsilon_ramp_share", 0.15, "From scratch the full radius from the first step often stalls at chance."),
        Choice("attack_steps", 3, "Enough to train with; more cost time in proportion."),
        Choice("temperature_start", 1.0, "Above 1 a short run loses calibration."),
        Choice("temperature_end", 1.0, "As above."),
        Choice("interpolation_start", 0.5, "Milder than the paper's 0.7: a short run's teacher is still unsure."),
        Choice("interpolation_end", 0.8, "As above, for the paper's 0.95."),
        Choice("teacher_memory", 0.04, "The average remembers this share of the run."),
        Choice(
            "publish", "teacher", "The average of the weights is what is saved: it wavers less than the last step."
        ),
    ]


def _measuring() -> list[Choice]:
    return [
        Choice("eval_attack_steps", 10, "A stronger attack than the one that trains."),
        Choice("eval_strategy", "steps", "A look at the held-out images now and then."),
        Choice("eval_steps", 0.1, "Ten times in the run."),
        Choice("load_best_model_at_end", True, "The best step under attack is published, not the last."),
    ]


def _images(photos: Photos, side: int) -> list[Choice]:
    found = ", ".join(f"{name} {count:,}" for name, count in sorted(photos.counts.items(), key=lambda item: -item[1]))
    sizes = f"{photos.short_sides[0]} to {photos.short_sides[-1]} px on the short side, in the middle {photos.side}"
    result = [Choice("dataset", photos.place, f"Train images by class: {found}. Sizes: {sizes}.")]
    if "validation" in photos.images:
        held_out = f"{photos.images['validation']:,} images that choose the step; none of them is trained on."
        result.append(
            Choice("validation_fraction", 0.1, f"Without a folder of that name a tenth of train: {held_out}")
        )
    if photos.unreadable:
        result.append(Choice("skip_broken_images", True, f"{photos.unreadable} of the files looked at are no images."))
    return [
        *result,
        Choice("crop_padding", side // 8, f"Random crops; an eighth of the {side} px that the model sees."),
        Choice("horizontal_flip", True, "Mirrored images; turn it off where left and right differ in meaning."),
    ]


def _network(photos: Photos, side: int, model: str | None) -> list[Choice]:
    if model is not None:
        return [
            Choice("model", model, "The checkpoint to start from; images get its own size unless image_size says.")
        ]
    words = "The smallest at which photos of this size still show something; larger ones cost by their area."
    fields = {"embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1], "layer_type": "basic"}
    return [
        Choice("model_type", "resnet", "transformers' own, small; a checkpoint (adsr init --model PATH) beats it."),
        Choice("image_size", side, f"Photos are {photos.side} px in the middle. {words}"),
        Choice("model_config", fields, "Three stages, 0.3M weights: as many as some hundred photos can teach."),
    ]


def _training(photos: Photos, batch: int, model: str | None) -> list[Choice]:
    steps = _STEPS_FROM_SCRATCH if model is None else _STEPS_FINE_TUNING
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(steps * batch / photos.images["train"])))
    rate = 0.003 if model is None else 0.0005
    schedule = (
        []
        if model is not None
        else [
            Choice("warmup_steps", 0.1, "The learning rate rises over a tenth of the run."),
            Choice("lr_scheduler_type", "cosine", "And falls to 0."),
            Choice("max_grad_norm", 1.0, "Adversarial gradients are uneven."),
        ]
    )
    return [
        Choice("num_train_epochs", epochs, f"About {steps} optimizer steps."),
        Choice(
            "per_device_train_batch_size", batch, "Small sets want small batches: more steps from the same images."
        ),
        Choice("per_device_eval_batch_size", 100, "No effect on figures."),
        Choice("learning_rate", rate, "AdamW."),
        Choice("weight_decay", 0.05, "Usual."),
        *schedule,
        Choice("save_strategy", "steps", "A run that is stopped goes on from there."),
        Choice("save_steps", 0.1, "As often as it is measured."),
        Choice("save_total_limit", 2, "The best and the last."),
        Choice("logging_steps", 20, "Lines on the terminal."),
        Choice("report_to", "none", "Or tensorboard, trackio, wandb."),
        Choice("seed", 0, "Repeat with 1 and 2 before you believe a difference."),
    ]


def _batch(train_images: int) -> int:
    return 16 if train_images < 200 else 32 if train_images < 5000 else 64
