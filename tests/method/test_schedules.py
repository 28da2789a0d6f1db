"""Annealing against the equation in exact steps, and what must hold for any two ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.method.schedules import cosine_anneal, decay_of_memory, hinge, linear_ramp, sine_ramp, warmed_up_decay

values = st.floats(-10, 10, allow_nan=False)
totals = st.integers(1, 5000)


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (0.7, 0.95)])
@pytest.mark.parametrize("total", [1, 2, 7, 1000])
def test_both_ends_are_hit(start: float, end: float, total: int) -> None:
    assert cosine_anneal(start, end, step=0, total_steps=total) == pytest.approx(start, rel=1e-15)
    assert cosine_anneal(start, end, step=total, total_steps=total) == pytest.approx(end, rel=1e-15)


def test_by_hand() -> None:
    """cos(π/3) = ½, cos(π/2) = 0, cos(2π/3) = −½."""
    assert [cosine_anneal(3.0, 1.0, step=step, total_steps=6) for step in (2, 3, 4)] == pytest.approx([2.5, 2.0, 1.5])


@given(start=values, end=values, total=totals, share=st.floats(0, 1))
def test_equals_the_half_angle_form(start: float, end: float, total: int, share: float) -> None:
    """½(1 + cos x) = cos²(x / 2): the same curve by another route, in numpy."""
    step = round(share * total)
    weight = np.cos(np.float64(math.pi) * step / (2 * total)) ** 2
    expected = weight * start + (1 - weight) * end
    assert cosine_anneal(start, end, step=step, total_steps=total) == pytest.approx(expected, abs=1e-12)


@given(start=values, end=values, total=st.integers(1, 200))
def test_never_turns_back(start: float, end: float, total: int) -> None:
    curve = np.array([cosine_anneal(start, end, step=step, total_steps=total) for step in range(total + 1)])
    assert (np.diff(curve) * np.sign(end - start) >= -1e-12).all()
    assert curve.min() >= min(start, end) - 1e-12
    assert curve.max() <= max(start, end) + 1e-12


@given(start=values, end=values, total=totals, beyond=st.integers(1, 10_000))
def test_stays_at_the_end_afterwards(start: float, end: float, total: int, beyond: int) -> None:
    assert cosine_anneal(start, end, step=total + beyond, total_steps=total) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize(("step", "total", "named"), [(-1, 10, "step=-1"), (0, 0, "total_steps=0")])
def test_impossible_steps_are_refused(step: int, total: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        cosine_anneal(1.0, 0.0, step=step, total_steps=total)


class TestRamp:
    def test_by_hand(self) -> None:
        assert [linear_ramp(step=step, ramp_steps=4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]

    def test_no_ramp_is_full_from_the_first_step(self) -> None:
        assert linear_ramp(step=0, ramp_steps=0) == 1

    @given(ramp_steps=st.floats(0, 1000), step=st.integers(0, 2000))
    def test_is_a_positive_share_that_never_falls_and_is_full_in_the_end(self, ramp_steps: float, step: int) -> None:
        now, later = (linear_ramp(step=at, ramp_steps=ramp_steps) for at in (step, step + 1))
        assert 0 < now <= later <= 1
        assert now == 1 or step < ramp_steps

    @pytest.mark.parametrize(("step", "ramp_steps"), [(-1, 1.0), (0, -1.0)])
    def test_negative_values_are_refused(self, step: int, ramp_steps: float) -> None:
        with pytest.raises(ValueError, match=f"step={step} and ramp_steps={ramp_steps}"):
            linear_ramp(step=step, ramp_steps=ramp_steps)


@given(ramp=st.floats(1, 1000), step=st.integers(0, 2000))
def test_sine_ramp_rises_from_above_0_to_1_and_crosses_the_linear_one_half_way(ramp: float, step: int) -> None:
    now, later = (sine_ramp(step=at, ramp_steps=ramp) for at in (step, step + 1))
    assert 0 < now <= later <= 1
    assert (now < 1) == (step + 1 < ramp) or now > 1 - 1e-6
    linear = linear_ramp(step=step, ramp_steps=ramp)
    assert (now <= linear + 1e-12) if linear <= 0.5 else (now >= linear - 1e-12)


def test_decay_warms_up_by_hand() -> None:
    assert [warmed_up_decay(0.5, step=step) for step in (0, 4, 8, 9)] == [1 / 10, 5 / 14, 0.5, 0.5]
    with pytest.raises(ValueError, match="step=-1"):
        warmed_up_decay(0.5, step=-1)


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["linear", "sine"]))
def test_a_hinge_rests_then_rises_and_ends_full(total: int, zero: float, ramp: float, shape: str) -> None:
    zero, ramp = zero / 2, ramp / 2
    values = [hinge(shape, step=step, zero_steps=zero * total, ramp_steps=ramp * total) for step in range(total + 2)]
    resting = math.ceil(zero * total - 1e-6)
    assert values[:resting] == [0.0] * resting
    assert all(value > 0 for value in values[resting:])
    assert values == sorted(values)
    assert values[-1] == 1.0


def test_a_share_that_is_a_whole_number_of_steps_but_for_rounding_is_one() -> None:
    assert 0.55 * 100 > 55
    assert [hinge("linear", step=step, zero_steps=0.55 * 100, ramp_steps=0) for step in (54, 55)] == [0.0, 1.0]


@pytest.mark.parametrize("numbers", [(-1, 0.0, 0.0), (0, -1.0, 0.0), (0, 0.0, -1.0), (-1, 2.0, 0.0)])
def test_a_hinge_of_negative_lengths_is_refused(numbers: tuple[int, float, float]) -> None:
    step, zero_steps, ramp_steps = numbers
    with pytest.raises(ValueError, match="at least 0"):
        hinge("linear", step=step, zero_steps=zero_steps, ramp_steps=ramp_steps)


@given(st.floats(0.001, 1), st.integers(1, 100_000))
def test_a_memory_is_a_share_of_the_run(memory: float, total: int) -> None:
    decay = decay_of_memory(memory, total_steps=total)
    assert 0 <= decay < 1
    if memory * total >= 1:
        assert 1 / (1 - decay) == pytest.approx(memory * total, rel=1e-6)
