"""From what the sanity checks measured to their verdicts. Every accuracy is over all images, in [0, 1]."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from adsr_hf.evaluation import verdicts as names
from adsr_hf.evaluation.verdicts import FAILURE_LEVEL, FEWEST_IMAGES, SanityCheck, exceeds
from adsr_hf.records.sentences import Recorded, Sentence, sentence, worded

# What Square may gain, as a share of images: AutoAttack's own flag counts 0.2 points.
SQUARE_ALLOWANCE = 0.002
# Share of images whose gradient may vanish.
ZERO_ALLOWANCE = 0.01
# Two forward passes may differ by so much of the largest logit: kernels that add in no fixed order do.
FORWARD_TOLERANCE = 1e-5
# Median disagreement between slope and change that still counts as agreement.
SLOPE_TOLERANCE = 0.3
# Share of the loss gained in 100 steps that 10 steps may leave out.
CONVERGENCE_TOLERANCE = 0.25


def not_applicable(name: str, why: Sentence, images: int) -> SanityCheck:
    """A check that could not be made, and why."""
    return SanityCheck(name, "not applicable", {"images": images}, why)


def never_rises(name: str, settings: Sequence[Recorded], broken: Sequence[Tensor], total: int) -> SanityCheck:
    """Accuracy along attacks of growing strength: fails where a stronger one breaks fewer images than chance explains.

    Each neighbouring pair is compared on the images that only one of the two breaks, by McNemar's exact test,
    one-sided, at :data:`FAILURE_LEVEL` shared out among the pairs.

    Args:
        settings: of the attacks, weakest first.
        broken: for each attack (N,) bool, over the images that are right without attack.
        total: number of all images.
    """
    accuracies = [_share(int((~mask).sum()), total) for mask in broken]
    rises = []
    for weaker, stronger in zip(range(len(broken) - 1), range(1, len(broken)), strict=True):
        lost = int((broken[weaker] & ~broken[stronger]).sum())
        gained = int((broken[stronger] & ~broken[weaker]).sum())
        rises.append(exceeds(lost, lost + gained, 0.5, FAILURE_LEVEL / (len(broken) - 1)))
    measured = list(zip(settings, accuracies, strict=True))
    figures = {f"accuracy at {worded(setting)}": accuracy for setting, accuracy in measured}
    trail = [sentence("sanity.accuracy_at", setting=setting, accuracy=accuracy) for setting, accuracy in measured]
    return _decided(name, not any(rises), figures | {"images": total}, "sanity.stronger_attack", trail=trail)


def reaches_chance(broken: Tensor, total: int, num_classes: int) -> SanityCheck:
    """Whether accuracy, when any image may be shown in place of any other, is no higher than guessing explains."""
    right, chance = int((~broken).sum()), 1 / num_classes
    sane = not exceeds(right, total, chance)
    figures = {"accuracy": _share(right, total), "chance": chance, "images": total}
    return _decided(
        names.UNBOUNDED, sane, figures, "sanity.unbounded", accuracy=figures["accuracy"], chance=figures["chance"]
    )


def beats_noise(pgd: Tensor, noise: Tensor, total: int) -> SanityCheck:
    """Whether PGD brings the wrong classes further ahead than random noise, image by image (sign test).

    Margins decide, not broken images: where a small radius breaks nothing, PGD must still lead. Below
    :data:`FEWEST_IMAGES` images an honest model would too often fail to show it.

    Args:
        pgd, noise: (N,), margins of the images that are right without attack.
    """
    wins, losses = int((pgd > noise).sum()), int((noise > pgd).sum())
    figures = {
        "accuracy under pgd": _share(int((pgd <= 0).sum()), total),
        "accuracy under noise": _share(int((noise <= 0).sum()), total),
        "share of images on which pgd leads": wins / len(pgd),
        "images": total,
    }
    if len(pgd) < FEWEST_IMAGES:
        return not_applicable(names.RANDOM_NOISE, _too_few(len(pgd)), total)
    sane = exceeds(wins, wins + losses, 0.5)
    return _decided(names.RANDOM_NOISE, sane, figures, "sanity.noise", share=wins / len(pgd))


def square_adds_little(only_square: int, attacked: int) -> SanityCheck:
    """Whether Square, which sees no gradient, breaks more images than 0.2 points that every white-box attack left.

    With a hundred images 0.2 points are a fifth of an image. The check therefore fails only when the images that
    Square alone breaks are more than a true share of 0.2% explains at :data:`FAILURE_LEVEL`: three of 100, seven of
    1,000.

    Args:
        only_square: images that stood against every white-box attack and fell to Square.
        attacked: images that were attacked.
    """
    if attacked == 0:
        return not_applicable(names.SQUARE, sentence("sanity.square.none_attacked"), attacked)
    sane = not exceeds(only_square, attacked, SQUARE_ALLOWANCE)
    figures = {"broken by square alone": float(only_square), "share": only_square / attacked, "images": attacked}
    return _decided(names.SQUARE, sane, figures, "sanity.square", broken=only_square, images=attacked)


def gradients_exist(blind: Tensor, zero_share: float) -> SanityCheck:
    """Whether cross-entropy has a gradient on all but 1% of the images.

    A zero here and there is honest (a dead unit, a cropped border); an image without any gradient cannot be attacked.

    Args:
        blind: (N,), bool: images whose whole gradient is zero or NaN.
        zero_share: of the gradient entries that PGD met.
    """
    sane = not exceeds(int(blind.sum()), len(blind), ZERO_ALLOWANCE)
    share = _share(int(blind.sum()), len(blind))
    figures = {"images without gradient": share, "zero entries under pgd": round(zero_share, 4), "images": len(blind)}
    return _decided(names.ZERO_GRADIENT, sane, figures, "sanity.gradient", share=share)


def deterministic(first: Tensor, second: Tensor) -> SanityCheck:
    """Whether two forward passes over the same images agree up to rounding.

    Args:
        first, second: (N, K), float64, logits.
    """
    largest = float((first - second).abs().max())
    relative = largest / max(float(first.abs().max()), torch.finfo(torch.float64).tiny)
    flips = int((first.argmax(1) != second.argmax(1)).sum())
    sane = relative <= FORWARD_TOLERANCE
    figures = {"largest difference": largest, "changed predictions": float(flips), "images": len(first)}
    return _decided(names.DETERMINISTIC, sane, figures, "sanity.two_passes", difference=largest, flips=flips)


def gradients_hold(unusable: Tensor, random: Tensor | None, along: Tensor | None) -> SanityCheck:
    """Whether the margin's gradient is there, and small steps bear it out in the median.

    Single slopes bend in honest networks too, so that the median is looked at from :data:`FEWEST_IMAGES` images on.

    Args:
        unusable: (N,), bool: gradient zero everywhere, or not finite.
        random, along: (N,), disagreement along random directions and along the gradient; None where a model in half
            precision rounds too coarsely to tell.
    """
    images = len(unusable)
    share = _share(int(unusable.sum()), images)
    figures: dict[str, float] = {"images without usable gradient": share, "images": images}
    if exceeds(int(unusable.sum()), images, ZERO_ALLOWANCE):
        return SanityCheck(names.GRADIENT_BLOCKING, "fail", figures, sentence("sanity.slopes.blocked", share=share))
    if random is None or along is None or images < FEWEST_IMAGES:
        why = _too_few(images) if images < FEWEST_IMAGES else sentence("sanity.slopes.half_precision")
        return SanityCheck(names.GRADIENT_BLOCKING, "not applicable", figures, why)
    medians = float(random.median()), float(along.median())
    sane = max(medians) <= SLOPE_TOLERANCE
    figures |= {
        "median disagreement along random directions": medians[0],
        "median disagreement along the gradient": medians[1],
    }
    return _decided(names.GRADIENT_BLOCKING, sane, figures, "sanity.slopes", share=max(medians))


def converged(clean: Tensor, few_steps: Tensor, many_steps: Tensor) -> SanityCheck:
    """Whether 10 steps gain nearly all of the loss that 100 steps gain.

    The loss is the margin up to 0: how far an image is behind the boundary beyond that breaks it no further.

    Args:
        clean, few_steps, many_steps: (N,), margins without attack, after 10 and after 100 steps.
    """
    start, short, long = (float(margins.clamp(max=0).sum()) for margins in (clean, few_steps, many_steps))
    images = len(clean)
    if not long - start > 1e-6 * abs(start):
        return not_applicable(names.CONVERGED, sentence("sanity.converged.no_gain"), images)
    left = (long - short) / (long - start)
    sane = left <= CONVERGENCE_TOLERANCE
    figures = {"share of the loss gained after step 10": left, "images": images}
    return _decided(names.CONVERGED, sane, figures, "sanity.converged", share=max(0.0, left))


def transfer_is_weaker(white_box: Tensor, transferred: Tensor, total: int) -> SanityCheck:
    """Whether images made on an undefended model break no more than those made on the model itself (McNemar, exact).

    Args:
        white_box, transferred: (N,), bool: broken, of the images that are right without attack.
    """
    lost, gained = int((transferred & ~white_box).sum()), int((white_box & ~transferred).sum())
    sane = not exceeds(lost, lost + gained, 0.5)
    direct, indirect = (_share(int((~mask).sum()), total) for mask in (white_box, transferred))
    figures = {"accuracy white-box": direct, "accuracy under transfer": indirect, "images": total}
    return _decided(names.TRANSFER, sane, figures, "sanity.transfer", transferred=indirect, white_box=direct)


def _decided(name: str, sane: bool, figures: dict[str, float], topic: str, **values: Any) -> SanityCheck:
    """A check that was made; its words are those of the topic for a check that passes, or for one that fails."""
    outcome: Literal["pass", "fail"] = "pass" if sane else "fail"
    return SanityCheck(name, outcome, figures, sentence(f"{topic}.{outcome}", **values))


def _too_few(images: int) -> Sentence:
    return sentence("sanity.too_few", images=images, needed=FEWEST_IMAGES)


def _share(count: int, total: int) -> float:
    return count / total
