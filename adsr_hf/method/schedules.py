"""Schedules: the value of a knob at one optimizer step."""

import math


def cosine_anneal(start: float, end: float, *, step: int, total_steps: int) -> float:
    """Half-cosine interpolation from ``start`` at step 0 to ``end`` at step ``total_steps``, without warm-up.

    Wu et al., ICLR 2024 (arXiv 2305.12118), section 3.3: v(t) = end + ½ (start − end)(1 + cos(π t / T)).

    Args:
        start, end: values at the two ends.
        step: optimizer step t; steps beyond the last keep ``end``.
        total_steps: T, at least 1.

    Raises:
        ValueError: when ``step`` is negative or ``total_steps`` is below 1.

    Example:
        >>> [round(cosine_anneal(2.0, 1.0, step=step, total_steps=4), 2) for step in range(5)]
        [2.0, 1.85, 1.5, 1.15, 1.0]
    """
    if step < 0:
        raise ValueError(f"step={step} must be at least 0")
    if total_steps < 1:
        raise ValueError(f"total_steps={total_steps} must be at least 1")
    progress = min(step / total_steps, 1.0)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * progress))


def linear_ramp(*, step: int, ramp_steps: float) -> float:
    """Share of the full value at optimizer step ``step``: (step + 1) / ramp_steps, at most 1; never 0.

    Args:
        step: 0 at the first optimizer step.
        ramp_steps: steps until the full value is reached; 0 means at once.

    Raises:
        ValueError: when either is negative.

    Example:
        >>> [linear_ramp(step=step, ramp_steps=4) for step in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    if step < 0 or ramp_steps < 0:
        raise ValueError(f"step={step} and ramp_steps={ramp_steps} must be at least 0")
    return min((step + 1) / ramp_steps, 1.0) if ramp_steps else 1.0


def sine_ramp(*, step: int, ramp_steps: float) -> float:
    """Share of the full value, as :func:`linear_ramp`, along ½ (1 − cos(π x)): gentle at both ends; never 0.

    Raises:
        ValueError: when either argument is negative.

    Example:
        >>> [round(sine_ramp(step=step, ramp_steps=4), 2) for step in range(4)]
        [0.15, 0.5, 0.85, 1.0]
    """
    return 0.5 * (1 - math.cos(math.pi * linear_ramp(step=step, ramp_steps=ramp_steps)))


def hinge(shape: str, *, step: int, zero_steps: float, ramp_steps: float) -> float:
    """Share of the full value: 0, then rising, then 1.

    Ngnawé et al., ICLR 2026 (arXiv 2509.23325): a radius that is held at 0 first lets a pretrained network adapt to
    its task before it is attacked.

    Args:
        shape: of the rise, ``"linear"`` or ``"sine"``; see :func:`linear_ramp` and :func:`sine_ramp`.
        step: 0 at the first optimizer step.
        zero_steps: steps until the rise begins, rounded up.
        ramp_steps: steps from there until the full value is reached; 0 means at once.

    Raises:
        ValueError: when a number is negative.

    Example:
        >>> [hinge("linear", step=step, zero_steps=2, ramp_steps=2) for step in range(5)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if zero_steps < 0:
        raise ValueError(f"zero_steps={zero_steps} must be at least 0")
    # A share of the steps is often a whole number but for rounding: 0.55 of 100 is 55.00000000000001 to a computer.
    begin = math.ceil(zero_steps - 1e-6)
    if 0 <= step < begin:
        return 0.0
    ramp = {"linear": linear_ramp, "sine": sine_ramp}[shape]
    return ramp(step=step - begin, ramp_steps=ramp_steps)


def decay_of_memory(memory: float, *, total_steps: int) -> float:
    """A moving average's decay γ = 1 − 1 / (memory · total_steps), at least 0: it remembers that share of the run.

    Args:
        memory: share of the run, in (0, 1].
        total_steps: length of the run, at least 1.

    Example:
        >>> decay_of_memory(0.03, total_steps=1000), decay_of_memory(0.03, total_steps=10)
        (0.9666666666666667, 0.0)
    """
    return max(0.0, 1 - 1 / (memory * total_steps))


def warmed_up_decay(decay: float, *, step: int) -> float:
    """A moving average's decay that grows with the run: min(decay, (1 + t) / (10 + t)).

    Args:
        decay: γ, in [0, 1): the decay once warm.
        step: t, the updates made so far.

    Raises:
        ValueError: when ``step`` is negative.

    Example:
        >>> [round(warmed_up_decay(0.995, step=step), 3) for step in (0, 10, 10_000)]
        [0.1, 0.55, 0.995]
    """
    if step < 0:
        raise ValueError(f"step={step} must be at least 0")
    return min(decay, (1 + step) / (10 + step))
