"""Runs every sanity check of one model under one threat."""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.attacks.batch_invariance import row_independent
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.attacks.gradient_path import with_gradient_path
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.evaluation import verdicts as names
from adsr_hf.evaluation.progress import Passes
from adsr_hf.evaluation.sanity import decisions
from adsr_hf.evaluation.sanity.gradients import RANDOM_DIRECTIONS, blind_images, slopes
from adsr_hf.evaluation.sanity.measurements import SQUARE_QUERIES, SQUARE_SMALLEST_SIDE, Probe
from adsr_hf.evaluation.verdicts import SanityCheck
from adsr_hf.networks.classifier import number_of_classes, pixels_to_logits
from adsr_hf.records.sentences import sentence

SANITY_IMAGES = 100
_FEW_STEPS, _SOME_STEPS, _MANY_STEPS, _UNBOUNDED_STEPS = 10, 20, 100, 50
# Passes that the checks make over each image that never falls, for an estimate of the time. APGD-T's on the few images
# that Square alone breaks are not among them.
GRADIENTS_PER_IMAGE = _FEW_STEPS + 3 * _SOME_STEPS + 2 * _MANY_STEPS + _UNBOUNDED_STEPS + 2
FORWARDS_PER_IMAGE = SQUARE_QUERIES + 2 * 7 + 2 * RANDOM_DIRECTIONS + 11


def sanity_positions(total: int, *, seed: int, images: int = SANITY_IMAGES) -> list[int]:
    """Which images of a split of ``total`` to check: a seeded random sample, ascending; all where there are fewer.

    Raises:
        ValueError: when an argument is outside what is allowed.
    """
    if total < 1 or images < 1 or seed < 0:
        raise ValueError(f"total={total} and images={images} must be at least 1, and seed={seed} at least 0")
    order = np.random.default_rng([seed, total]).permutation(total)
    return sorted(order[:images].tolist())


def verdicts(
    model: nn.Module,
    pixel_space: PixelSpace,
    pixels: Tensor,
    labels: Tensor,
    *,
    threat: ThreatModel,
    seed: int,
    undefended: LogitsFunction | None = None,
    only_square: tuple[int, int] | None = None,
    batch_size: int = 100,
    show_progress: bool = True,
) -> list[SanityCheck]:
    """Every sanity check of one model under one threat, on all the images that are passed (about 100 will do).

    Checks that count images fail when chance explains what was counted with a probability below 1%. No figure of a
    deterministic model depends on ``batch_size``.

    Args:
        model: an image classifier, on the device to compute on; it is left as it was.
        pixel_space: how the model's inputs are normalised.
        pixels: (N, C, H, W), float32, in [0, 1].
        labels: (N,), int64.
        threat: of radius above 0.
        seed: of random starts, noise and Square.
        undefended: maps pixels to logits of a model of the same family that was trained without a defence; without it
            the transfer check is not applicable.
        only_square: if Square was already run on a larger sample, (how many images stood against every white-box
            attack and fell to Square, how many images were attacked); without it Square is run here, if installed.
        batch_size: images attacked together.
        show_progress: draw a progress bar, in forward passes of one image.

    Returns:
        one verdict for each of :data:`adsr_hf.evaluation.verdicts.CHECKS`, in that order.

    Raises:
        ValueError: when an argument is outside what is allowed, or the logits are not finite.
    """
    num_classes = number_of_classes(model)
    _check_arguments(pixels, labels, threat, batch_size, num_classes)
    device = next(model.parameters()).device
    pixels, labels = pixels.to(device), labels.to(device)
    passes = Passes(show=show_progress)
    counted = passes.counted(row_independent(with_gradient_path(pixels_to_logits(model, pixel_space, num_classes))))
    forked = [device] if device.type == "cuda" else []
    with under_attack(model), torch.random.fork_rng(devices=forked):
        torch.manual_seed(seed)
        everything = Probe(counted, pixels, labels, seed, batch_size)
        passes.plan(len(pixels) * 2)
        first, second = everything.logits(pixels), everything.logits(pixels)
        right = (first.argmax(1) == labels.cpu()).to(device)
        found = [decisions.deterministic(first, second)]
        probe = Probe(counted, pixels[right], labels[right], seed, batch_size)
        if len(probe):
            planned = len(probe) * passes_per_image(passes.gradient_cost, square=only_square is None)
            before = passes.shown
            passes.plan(planned)
            found += _attack_checks(probe, threat, len(pixels), num_classes, undefended, only_square)
            one_answer = len(first.argmax(1).unique()) == 1
            found += [_unbounded(probe, len(pixels), num_classes, one_answer), _slopes(model, probe)]
            passes.finish(planned, before)
    passes.close()
    measured = {entry.name: entry for entry in found}
    nothing_right = sentence("sanity.nothing_right")
    return [measured.get(name) or decisions.not_applicable(name, nothing_right, len(pixels)) for name in names.CHECKS]


def passes_per_image(gradient_cost: float, *, square: bool) -> float:
    """Forward passes that the checks cost for an image that is right and never falls.

    Args:
        gradient_cost: of a forward and backward pass, in forward passes.
        square: whether Square is run here; it needs pyautoattack.
    """
    runs_square = square and find_spec("pyautoattack") is not None
    forwards = FORWARDS_PER_IMAGE - (0 if runs_square else SQUARE_QUERIES)
    return GRADIENTS_PER_IMAGE * gradient_cost + forwards


def square_is_known(attacks: Sequence[str]) -> bool:
    """Whether an evaluation by these attacks, in order, tells what Square finds that no white-box attack did."""
    # PGD alone stops at a few images that Square then breaks, also for honest models; targeted Auto-PGD does not.
    return list(attacks[-1:]) == ["square"] and "apgd-t" in attacks


def _attack_checks(
    probe: Probe,
    threat: ThreatModel,
    total: int,
    num_classes: int,
    undefended: LogitsFunction | None,
    only_square: tuple[int, int] | None,
) -> list[SanityCheck]:
    """The checks that compare attacks inside and around the threat model."""
    clean = probe.margins(probe.pixels)
    radii = list(dict.fromkeys(_scaled(threat, factor) for factor in (0.5, 1, 2)))
    by_radius = [probe.pgd(radius, _SOME_STEPS)[0] for radius in radii]
    some = by_radius[1]
    places = [sentence("sanity.radius", threat=str(radius)) for radius in radii]
    few, _ = probe.pgd(threat, _FEW_STEPS)
    many, zero_share = probe.pgd(threat, _MANY_STEPS)
    margin, _ = probe.pgd(threat, _MANY_STEPS, loss="margin")
    steps = [sentence("sanity.steps", count=count) for count in (_FEW_STEPS, _SOME_STEPS, _MANY_STEPS)]
    # An image that falls inside half the radius falls inside the radius.
    standing = torch.stack([by_radius[0], few, some, many, margin]).amax(0) <= 0
    return [
        decisions.never_rises(names.RISES_WITH_EPSILON, places, [margins > 0 for margins in by_radius], total),
        decisions.never_rises(names.RISES_WITH_STEPS, steps, [margins > 0 for margins in (few, some, many)], total),
        decisions.beats_noise(few, probe.noise(threat), total),
        _square(probe, threat, standing, num_classes, only_square),
        decisions.gradients_exist(blind_images(probe, threat), zero_share),
        decisions.converged(clean, few, many),
        _transfer(probe, threat, some > 0, undefended, total),
    ]


def _scaled(threat: ThreatModel, factor: float) -> ThreatModel:
    epsilon = threat.epsilon * factor
    return ThreatModel(threat.norm, min(epsilon, 1.0) if threat.norm == "Linf" else epsilon)


def _square(
    probe: Probe, threat: ThreatModel, standing: Tensor, num_classes: int, only_square: tuple[int, int] | None
) -> SanityCheck:
    if only_square is not None:
        return decisions.square_adds_little(*only_square)
    if threat.norm == "L2" and min(probe.pixels.shape[2:]) < SQUARE_SMALLEST_SIDE:
        return decisions.not_applicable(
            names.SQUARE, sentence("sanity.square.small_images", side=SQUARE_SMALLEST_SIDE), len(probe)
        )
    try:
        alone = probe.named("square", threat, standing, num_classes)
        verdict = decisions.square_adds_little(int(alone.sum()), len(probe))
        if verdict.outcome == "pass":
            return verdict
        # PGD gets stuck on a few images of an honest model too; these get the strongest white-box attack there is.
        found = probe.named("apgd-t", threat, alone, num_classes)
    except ImportError:
        return decisions.not_applicable(names.SQUARE, sentence("sanity.square.no_package"), len(probe))
    return decisions.square_adds_little(int((alone & ~found).sum()), len(probe))


def _transfer(
    probe: Probe, threat: ThreatModel, white_box: Tensor, undefended: LogitsFunction | None, total: int
) -> SanityCheck:
    if undefended is None:
        return decisions.not_applicable(names.TRANSFER, sentence("sanity.transfer.no_model"), total)
    transferred, _ = probe.pgd(threat, _SOME_STEPS, logits_fn=row_independent(with_gradient_path(undefended)))
    return decisions.transfer_is_weaker(white_box, transferred > 0, total)


def _unbounded(probe: Probe, total: int, num_classes: int, one_answer: bool) -> SanityCheck:
    # Linf 1 is the whole box, whatever the norm. From the image itself: a random start would break it by itself.
    margins, _ = probe.pgd(ThreatModel("Linf", 1.0), _UNBOUNDED_STEPS, random_start=False)
    if one_answer and not (margins > 0).any():
        return decisions.not_applicable(names.UNBOUNDED, sentence("sanity.unbounded.one_answer"), total)
    return decisions.reaches_chance(margins > 0, total, num_classes)


def _slopes(model: nn.Module, probe: Probe) -> SanityCheck:
    measured = slopes(probe)
    coarse = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in model.parameters())
    if coarse:
        return decisions.gradients_hold(measured.unusable, None, None)
    return decisions.gradients_hold(measured.unusable, measured.random_disagreement, measured.gradient_disagreement)


def _check_arguments(pixels: Tensor, labels: Tensor, threat: ThreatModel, batch_size: int, num_classes: int) -> None:
    if pixels.ndim != 4 or not len(pixels) or labels.shape != (len(pixels),):
        raise ValueError(
            f"pixels must have shape (N, C, H, W) with N at least 1 and labels (N,), got {tuple(pixels.shape)} and "
            f"{tuple(labels.shape)}"
        )
    low, high = torch.stack(torch.aminmax(pixels)).tolist()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"pixels must lie in [0, 1], got values from {low:.3f} to {high:.3f}; undo the normalisation")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels must lie in [0, {num_classes}), got values from {low} to {high}")
    if threat.epsilon == 0:
        raise ValueError(f"threat '{threat}' has radius 0, under which nothing can be masked; give one above 0")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
