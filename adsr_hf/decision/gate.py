"""Promote, keep, or not decidable: a policy's rules on a comparison."""

import difflib
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from adsr_hf.decision.arms import Arm, Member
from adsr_hf.decision.compare import Comparison
from adsr_hf.decision.deltas import Delta, higher_is_better
from adsr_hf.decision.policy import ALL, Policy
from adsr_hf.decision.sample_size import MOST_IMAGES, MOST_RUNS, needed_to_decide
from adsr_hf.evaluation.figure_names import figure_kind, is_class_accuracy
from adsr_hf.evaluation.vectors import ERROR_RATES
from adsr_hf.records.sentences import worded

RuleVerdict = Literal["pass", "fail", "not decidable", "no evidence"]
Decision = Literal["promote", "keep", "not decidable"]
EXIT_STATUS: dict[Decision, int] = {"promote": 0, "keep": 3, "not decidable": 2}


@dataclass(frozen=True)
class RuleOutcome:
    """One rule on one figure.

    Attributes:
        rule: such as ``"minimum_gain"``.
        figure: that it was applied to.
        bound: from the policy.
        measured: the gain, ratio or number; None for a verdict.
        interval: of ``measured``, 95%.
        outcome: pass, fail, or not decidable; no evidence, which keeps nothing back, for one of several classes that
            is neither shown to lose more than its bound nor shown not to.
        images_needed: about how many images would decide it four times in five, where more would help.
        seeds_needed: about how many seeds a side would, together with images_needed where that is set; None where more
            images alone do, and where each side has one.
        words: one plain sentence.
    """

    rule: str
    figure: str
    bound: float | str
    measured: float | None
    interval: tuple[float, float] | None
    outcome: RuleVerdict
    images_needed: int | None
    words: str
    seeds_needed: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def decide(policy: Policy, comparison: Comparison, candidate: Arm) -> tuple[Decision, list[RuleOutcome]]:
    """Apply every rule. One failure keeps the current model; else one open rule leaves it open.

    Raises:
        ValueError: when a rule is about something that was not measured; it says what was. Also when a member of
            the candidate measured weights that cannot be shipped.

    Example:
        >>> from adsr_hf.decision.arms import Arm
        >>> from adsr_hf.decision.compare import Comparison
        >>> few = Comparison("new", "old", (), {}, None, 30, "images", "good", 0.7, {"new": [], "old": []})
        >>> decision, rules = decide(Policy(minimum_images=100, sanity=["deterministic"]), few, Arm("new", ()))
        >>> decision, rules[0].outcome
        ('not decidable', 'not decidable')
    """
    for member in candidate.members:
        if member.why_not_shippable is not None:
            raise ValueError(member.why_not_shippable)
    outcomes = [_enough_images(policy, comparison)]
    if policy.beats_majority:
        outcomes += [_beats_majority(member) for member in candidate.members]
    for rule, bounds, sign in (("minimum_gain", policy.minimum_gain, 1), ("maximum_loss", policy.maximum_loss, -1)):
        for pattern, bound in bounds.items():
            for delta in _matching(rule, pattern, comparison):
                outcome = _bounded(rule, delta, sign * bound, bound)
                several = rule == "maximum_loss" and is_class_accuracy(pattern) and delta.name != pattern
                outcomes.append(_of_several_classes(outcome, delta) if several else outcome)
    outcomes += _sane(policy, candidate)
    if policy.maximum_latency_ratio is not None:
        outcomes.append(_fast_enough(policy.maximum_latency_ratio, comparison))
    found = {rule.outcome for rule in outcomes}
    decision: Decision = "keep" if "fail" in found else "not decidable" if "not decidable" in found else "promote"
    return decision, outcomes


def _enough_images(policy: Policy, comparison: Comparison) -> RuleOutcome:
    wanted, images = policy.minimum_images, comparison.images
    outcome: RuleVerdict = "pass" if images >= wanted else "not decidable"
    words = f"{images} test images, {wanted} wanted"
    return RuleOutcome(
        "minimum_images", "images", wanted, images, None, outcome, wanted if images < wanted else None, words
    )


def _matching(rule: str, pattern: str, comparison: Comparison) -> list[Delta]:
    found = [delta for delta in comparison.deltas if delta.name == pattern]
    found = found or [
        delta
        for delta in comparison.deltas
        # A class may be called anything: only patterns that speak of classes are for theirs.
        if fnmatchcase(delta.name, pattern) and is_class_accuracy(delta.name) == is_class_accuracy(pattern)
    ]
    if not found:
        measured = [delta.name for delta in comparison.deltas]
        reason = worded(comparison.not_compared.get(pattern, ""))
        near = difflib.get_close_matches(pattern, measured, n=1)
        of_errors = figure_kind(pattern).removeprefix("robust_") in ERROR_RATES
        raise ValueError(
            f"{rule} names {pattern!r}, which was not measured for both models"
            f"{f' ({reason})' if reason else ''}; {f'did you mean {near[0]!r}? ' if near else ''}measure it with adsr "
            f"evaluate{' --positive_class CLASS' if of_errors else ''}, or choose among: {', '.join(measured)}"
        )
    return found


def _bounded(rule: str, delta: Delta, least: float, bound: float) -> RuleOutcome:
    """The whole interval of a gain must lie above ``least``; a loss is a gain below 0."""
    sign = 1 if higher_is_better(delta.name) else -1
    gain = sign * delta.delta
    low, high = sorted(sign * end for end in delta.interval)
    lone = low == high and delta.p_value is None
    if lone:
        outcome: RuleVerdict = "not decidable"
    else:
        outcome = "pass" if low > least else "fail" if high < least else "not decidable"
    images_needed = seeds_needed = None
    if outcome == "not decidable" and not lone:
        images_needed, seeds_needed = needed_to_decide(delta, sign * least)
    words = (
        f"{delta.name}: {delta.candidate:.4g} against {delta.current:.4g}, a gain of {gain:+.4g} [{low:+.4g}, "
        f"{high:+.4g}]; more than {least:+.4g} is wanted"
    )
    if lone:
        words += "; one run a side has no spread, several seeds would decide"
    elif outcome == "not decidable":
        words += _needed_words(images_needed, seeds_needed)
    return RuleOutcome(rule, delta.name, bound, gain, (low, high), outcome, images_needed, words, seeds_needed)


def _needed_words(images: int | None, seeds: int | None) -> str:
    parts = []
    if seeds is not None:
        parts.append(f"{'more than' if seeds == MOST_RUNS else 'about'} {seeds} seeds a side")
    if images is not None:
        parts.append(f"{'more than' if images == MOST_IMAGES else 'about'} {images:,} images")
    return f"; {' with '.join(parts)} would decide" if parts else ""


def _of_several_classes(outcome: RuleOutcome, delta: Delta) -> RuleOutcome:
    """What a rule for every class says of one of them.

    To show of each of many classes that it lost nothing would take far more images than to show it of all together,
    and one of many looks worse by chance. So a class keeps the candidate back only where it is shown to have lost too
    much, even after correction for the number of classes.
    """
    if outcome.outcome == "fail" and delta.verdict != "worse":
        words = f"{outcome.words}; of several classes one may look so by chance"
        return replace(outcome, outcome="not decidable", words=words)
    if outcome.outcome == "not decidable":
        words = f"{outcome.words}; neither shown to lose more nor shown not to, on {delta.images} images of the class"
        return replace(outcome, outcome="no evidence", words=words)
    return outcome


def _beats_majority(member: Member) -> RuleOutcome:
    """A candidate that gives nearly everything to the most frequent class has learned nothing, and may look robust."""
    majority, accuracy = member.records.summary["majority"], member.records.summary["figures"]["accuracy"]
    share, (low, high) = majority["share"], accuracy["interval"]
    outcome: RuleVerdict = "pass" if low > share else "fail" if high < share else "not decidable"
    words = (
        f"accuracy {accuracy['value']:.4g} [{low:.4g}, {high:.4g}]; a model that always says {majority['class']!r} "
        f"reaches {share:.4g} ({member.folder})"
    )
    return RuleOutcome("beats_majority", "accuracy", share, accuracy["value"], (low, high), outcome, None, words)


def _sane(policy: Policy, candidate: Arm) -> list[RuleOutcome]:
    if not policy.sanity:
        return []
    outcomes = [outcome for member in candidate.members for outcome in _sane_member(policy, member)]
    if not outcomes:
        words = "no verdict was applicable, so that nothing speaks for the robust accuracy"
        outcomes.append(RuleOutcome("sanity", ALL, "pass", None, None, "not decidable", None, words))
    return outcomes


def _sane_member(policy: Policy, member: Member) -> list[RuleOutcome]:
    verdicts = {check["name"]: check for check in member.records.summary["sanity"]}
    if not verdicts:
        raise ValueError(
            f"sanity={policy.sanity!r} needs verdicts, and {member.folder} has none; evaluate it again with --sanity "
            "true"
        )
    names = list(verdicts) if policy.sanity == ALL else list(policy.sanity)
    unknown = sorted(set(names) - set(verdicts))
    if unknown:
        raise ValueError(f"sanity names {unknown}, which were not judged; choose among {sorted(verdicts)}")
    outcomes = []
    for name in names:
        found = verdicts[name]["outcome"]
        if found == "not applicable" and policy.sanity == ALL:
            continue
        outcome: RuleVerdict = "pass" if found == "pass" else "fail" if found == "fail" else "not decidable"
        words = f"{name}: {worded(verdicts[name]['words'])} ({member.folder})"
        outcomes.append(RuleOutcome("sanity", name, "pass", None, None, outcome, None, words))
    return outcomes


def _fast_enough(most: float, comparison: Comparison) -> RuleOutcome:
    pair = comparison.latency
    if pair is None:
        reason = worded(comparison.not_compared.get("latency_ratio", "not measured"))
        raise ValueError(f"maximum_latency_ratio={most} was not measured: {reason}")
    low, high = pair.interval
    if pair.proven:
        outcome: RuleVerdict = "pass" if most >= 1 else "fail"
        words = f"both models are one architecture, so that inference costs the same; at most {most} wanted"
    else:
        outcome = "pass" if high < most else "fail" if low > most else "not decidable"
        words = (
            f"inference takes {pair.ratio:.3f} [{low:.3f}, {high:.3f}] of the current model's time in {pair.rounds} "
            f"rounds; at most {most} wanted"
        )
    return RuleOutcome("maximum_latency_ratio", "latency", most, pair.ratio, pair.interval, outcome, None, words)
