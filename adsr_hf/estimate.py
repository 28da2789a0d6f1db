"""How long a run will take: measured on one batch, then multiplied."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from adsr_hf.attacks import PGD
from adsr_hf.attacks.isolation import under_attack
from adsr_hf.attacks.pixels import PixelSpace
from adsr_hf.classifier import bare_copy, logits_of, number_of_classes, pixels_to_logits
from adsr_hf.config import ADSRConfig


def estimate_seconds(
    model: nn.Module,
    config: ADSRConfig,
    pixel_space: PixelSpace,
    pixels: Tensor,
    *,
    training_images: int,
    evaluated_images: int,
) -> float:
    """Seconds that training and evaluation will take in this process, from one batch on a copy of the model.

    Args:
        pixels: (B, C, H, W), float32, in [0, 1]: a batch of the size that will be trained with.
        training_images: images that training will pass over in this process, all epochs together.
        evaluated_images: images that all evaluations together will measure in this process.
    """
    probe = bare_copy(model).to(config.device)
    pixels = pixels.to(config.device)
    num_classes = number_of_classes(probe)
    labels = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)
    values = pixel_space.to_pixel_values(pixels)
    logits_fn = pixels_to_logits(probe, pixel_space, num_classes)
    one_step = PGD(config.threat, num_steps=1)

    def attack_step() -> None:
        with under_attack(probe):
            one_step.attack(logits_fn, pixels, labels)

    def weight_step() -> None:
        logits = logits_of(probe.train()(pixel_values=values), num_classes)
        nn.functional.cross_entropy(logits, labels).backward()

    with torch.autocast(config.device.type, torch.bfloat16, enabled=bool(config.bf16)):
        per_attack_step, per_weight_step = _seconds(attack_step), _seconds(weight_step)
    training = _training_step(config, per_attack_step, per_weight_step)
    networks = 2 if config.keeps_teacher and config.evaluate_weights == "both" else 1
    evaluation = networks * (config.eval_attack_steps * config.eval_attack_restarts + 1) * per_attack_step
    return (training * training_images + evaluation * evaluated_images) / len(pixels)


def _training_step(config: ADSRConfig, per_attack_step: float, per_weight_step: float) -> float:
    """Seconds for one batch, with everything that the settings ask for beside the weights' own gradient."""
    # A forward pass alone is about a third of a forward and backward one.
    forward = per_weight_step / 3
    compares = config.settled_objective in ("trades", "mart")
    weight_passes = (2 if compares else 1) * (1 if config.weight_perturbation == "none" else 2)
    seconds = weight_passes * per_weight_step + (forward if config.rectifies else 0)
    if config.attacks:
        seconds += config.attack_restarts * config.attack_steps * per_attack_step
        seconds += forward if config.settled_objective == "trades" else 0
    return seconds


def in_words(seconds: float) -> str:
    """``"about 40 s"``, ``"about 12 min"`` or ``"about 3.5 h"``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def _seconds(work: Callable[[], None]) -> float:
    """The faster of two runs after one to warm up."""
    work()
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken)
