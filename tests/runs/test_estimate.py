"""How long is left: counted by hand, and corrected by what was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.records.durations import duration_in_words
from adsr_hf.runs.estimate import MeasuredSpeed, Speed, Workload


def workload(**changes: object) -> Workload:
    given = {"steps": 10, "images_in_step": 4, "evaluate_every": 3, "evaluates_at_end": False}
    return Workload(**{**given, "validation_images": 5, "final_images": 7, **changes})  # type: ignore[arg-type]


SPEED = Speed(trained=2.0, evaluated=0.5)


def test_everything_that_is_left_is_counted() -> None:
    # Steps 3, 6 and 9 are followed by an evaluation.
    assert workload().evaluations == 3
    assert workload().seconds(SPEED) == 10 * 4 * 2 + (3 * 5 + 7) * 0.5
    assert workload().seconds(SPEED, step=6) == 4 * 4 * 2 + (1 * 5 + 7) * 0.5
    assert workload(evaluates_at_end=True).seconds(SPEED, step=6) == 4 * 4 * 2 + (2 * 5 + 7) * 0.5
    assert workload(evaluates_at_end=True, evaluate_every=5).evaluations == 2
    assert workload(evaluate_every=0, evaluates_at_end=True).evaluations == 0
    assert workload().seconds(SPEED, step=10) == 7 * 0.5


@given(st.integers(1, 60), st.integers(0, 25), st.booleans())
def test_the_time_left_falls_by_what_each_step_costs(steps: int, every: int, at_end: bool) -> None:
    whole = workload(steps=steps, evaluate_every=every, evaluates_at_end=at_end)
    left = [whole.seconds(SPEED, step=step) for step in range(steps + 1)]
    evaluated = {step for step in range(1, steps + 1) if every and (step % every == 0 or (at_end and step == steps))}
    for step in range(1, steps + 1):
        assert left[step - 1] - left[step] == pytest.approx(8 + 2.5 * (step in evaluated))


def test_a_guess_made_on_a_busy_machine_is_corrected_by_the_first_steps() -> None:
    measured = MeasuredSpeed(Speed(trained=1.0, evaluated=3.0))
    assert measured.speed == Speed(1.0, 3.0)
    measured.add_training(images=100, seconds=10)
    # Nothing was evaluated yet: that guess was as far off as the other.
    assert measured.speed == Speed(pytest.approx(0.1), pytest.approx(0.3))
    measured.add_evaluation(images=10, seconds=5)
    assert measured.speed == Speed(pytest.approx(0.1), 0.5)


def test_the_machines_present_load_counts() -> None:
    measured = MeasuredSpeed(Speed(1.0, 1.0))
    for seconds in [100.0] * 10 + [10.0] * 10:
        measured.add_training(images=10, seconds=seconds)
    assert measured.speed.trained == 1.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "about 1 s"), (89, "about 89 s"), (720, "about 12 min"), (12600, "about 3.5 h")]
)
def test_time_is_told_as_people_tell_it(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words
