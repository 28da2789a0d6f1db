"""An estimate that was wrong at the start is corrected, and one that was right is left alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.attacks import ThreatModel
from adsr_hf.evaluation import remaining_time
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.progress import Passes
from adsr_hf.evaluation.remaining_time import FACTOR, RemainingTime
from adsr_hf.evaluation.sanity import SANITY_IMAGES, passes_per_image
from adsr_hf.evaluation.suite import evaluate
from tests.evaluation.subjects import SPACE, images, trained_model

UNITS, PASSES = 100, 1000.0


def run(said: float, taken: list[float]) -> list[tuple[float, float]]:
    """What is announced, and when, where units of work take so many seconds each."""
    now, announced = 0.0, []
    remaining = RemainingTime(lambda seconds: announced.append((now, seconds)), clock=lambda: now)
    remaining.begin(said)
    for number, seconds in enumerate(taken, start=1):
        now += seconds
        remaining.finish(PASSES, PASSES * (len(taken) - number))
    return announced


@given(total=st.floats(1, 1e5), error=st.floats(1.05 / FACTOR, FACTOR / 1.05))
def test_what_was_about_right_is_said_once(total: float, error: float) -> None:
    assert run(total * error, [total / UNITS] * UNITS) == [(0.0, total * error)]


@given(total=st.floats(200, 1e5), error=st.floats(2, 100), over=st.booleans())
def test_what_was_far_off_is_corrected_soon(total: float, error: float, over: bool) -> None:
    said = total * error if over else total / error
    announced = run(said, [total / UNITS] * UNITS)
    assert len(announced) == 2
    at, left = announced[1]
    assert at + left == pytest.approx(total)
    assert at <= max(0.35 * total, 80)


def test_a_machine_that_becomes_free_is_noticed() -> None:
    announced = run(1000.0, [30.0] * 10 + [1.0] * 90)
    assert [left for _, left in announced][:2] == [1000.0, pytest.approx(2970)]
    at, left = announced[-1]
    assert len(announced) <= 6
    assert at + left <= 1.6 * 390


def test_nothing_is_said_of_short_runs() -> None:
    assert run(1.0, [0.15] * UNITS) == [(0.0, 1.0)]


def test_the_suite_corrects_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass that seemed to take a second."""
    measure = Passes.measure

    def slow(self: Passes, *given: object) -> None:
        measure(self, *given)
        self.seconds_per_forward = 1.0

    monkeypatch.setattr(Passes, "measure", slow)
    monkeypatch.setattr(remaining_time, "LEAST_SECONDS", 0.0)
    announced: list[float] = []
    plan = Plan((ThreatModel("Linf", 0.02), ThreatModel("Linf", 0.1)), num_steps=2, batch_size=64)
    evaluate(trained_model(), images(), plan, pixel_space=SPACE, announce=announced.append, show_progress=False)
    assert announced[0] > 300
    assert announced[1] < 30


def test_sanity_checks_are_in_the_estimate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twice the same images, so that only the checks differ: what they are said to take is what they count."""
    monkeypatch.setattr("adsr_hf.evaluation.suite.verdicts", lambda *_, **__: [])
    monkeypatch.setattr("adsr_hf.evaluation.progress._fastest", lambda work: 64.0)
    said: dict[bool, list[float]] = {True: [], False: []}
    for sanity in said:
        plan = Plan((ThreatModel("Linf", 0.02),), num_steps=2, sanity=sanity)
        evaluate(trained_model(), images(), plan, pixel_space=SPACE, announce=said[sanity].append, show_progress=False)
    right = 63 / 70  # of images() are labelled as they are
    checks = min(SANITY_IMAGES, 70) * passes_per_image(1.0, square=True)
    assert said[True][0] - said[False][0] == pytest.approx(right * checks, rel=0.15)
