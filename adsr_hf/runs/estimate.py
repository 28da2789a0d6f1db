"""How long a run will take: guessed from one batch, and corrected by what its steps and evaluations really took."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adsr_hf.attacks import PGD
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.config import ADSRConfig
from adsr_hf.networks.classifier import bare_copy, logits_of, number_of_classes, pixels_to_logits
from adsr_hf.networks.pixels import PixelSpace

# Stretches between two log lines that the measured speed is a mean over: a machine's other work comes and goes.
_STRETCHES = 10


@dataclass(frozen=True)
class Speed:
    """Seconds of one trained image and of one evaluated image, in one process."""

    trained: float
    evaluated: float


@dataclass(frozen=True)
class Workload:
    """What one process has to do.

    Attributes:
        steps: optimizer steps of the run.
        images_in_step: trained images of one of them.
        evaluate_every: steps from one evaluation to the next; 0 = there is none.
        evaluates_at_end: whether the last step is followed by one in any case.
        validation_images: of one evaluation.
        final_images: that are evaluated when training is over.
    """

    steps: int
    images_in_step: float
    evaluate_every: int
    evaluates_at_end: bool
    validation_images: float
    final_images: float

    @property
    def evaluations(self) -> int:
        """Of the whole run, those after training not counted."""
        return self._evaluations_after(0)

    def seconds(self, speed: Speed, *, step: int = 0) -> float:
        """Time that is left once ``step`` steps were taken and what belongs to them was evaluated."""
        evaluated = self._evaluations_after(step) * self.validation_images + self.final_images
        return (self.steps - step) * self.images_in_step * speed.trained + evaluated * speed.evaluated

    def _evaluations_after(self, step: int) -> int:
        if self.evaluate_every == 0 or step >= self.steps:
            return 0
        remainder = self.steps % self.evaluate_every != 0
        return self.steps // self.evaluate_every - step // self.evaluate_every + (self.evaluates_at_end and remainder)


class MeasuredSpeed:
    """A guess that gives way to what is measured.

    Until the first evaluation, the guess for it is off by as much as the guess for training was.

    Args:
        guess: from :func:`guessed_speed`.
    """

    def __init__(self, guess: Speed) -> None:
        self._guess = guess
        self._trained: deque[tuple[float, float]] = deque(maxlen=_STRETCHES)
        self._evaluated: deque[tuple[float, float]] = deque(maxlen=_STRETCHES)

    def add_training(self, images: float, seconds: float) -> None:
        """So many images were trained with in so many seconds, evaluations not counted."""
        self._trained.append((images, seconds))

    def add_evaluation(self, images: float, seconds: float) -> None:
        """So many images were evaluated in so many seconds."""
        self._evaluated.append((images, seconds))

    @property
    def speed(self) -> Speed:
        """What is known now."""
        trained = _per_image(self._trained) or self._guess.trained
        off = trained / self._guess.trained if self._guess.trained > 0 else 1.0
        return Speed(trained, _per_image(self._evaluated) or self._guess.evaluated * off)


def _per_image(stretches: "deque[tuple[float, float]]") -> float:
    images = sum(count for count, _ in stretches)
    return sum(seconds for _, seconds in stretches) / images if images else 0.0


def guessed_speed(model: nn.Module, config: ADSRConfig, pixel_space: PixelSpace, pixels: Tensor) -> Speed:
    """Speed of training and evaluation in this process, from one batch on a copy of the model.

    Args:
        pixels: (B, C, H, W), float32, in [0, 1]: a batch of the size that will be trained with.
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
    return Speed(training / len(pixels), evaluation / len(pixels))


def _training_step(config: ADSRConfig, per_attack_step: float, per_weight_step: float) -> float:
    """Seconds for one batch, with everything that the settings ask for beside the weights' own gradient."""
    # A forward pass alone is about a third of a forward and backward one.
    forward = per_weight_step / 3
    compares = config.settled_objective in ("trades", "mart", "ikl")
    weight_passes = (2 if compares else 1) * (1 if config.weight_perturbation == "none" else 2)
    seconds = weight_passes * per_weight_step + (forward if config.rectifies else 0)
    if config.attacks:
        seconds += config.attack_restarts * config.attack_steps * per_attack_step
        seconds += forward if config.settled_objective in ("trades", "ikl") else 0
    return seconds


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
