"""How good a teacher is, as a running mean over batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adsr_hf.measures.temperature import fit_temperature
from adsr_hf.method.reliability import COLDEST, HOTTEST, TeacherReliability, batch_reliability


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.3, 4.0))
def test_a_batch_s_temperature_is_the_one_of_least_likelihood(seed: int, classes: int, scale: float) -> None:
    """Against the publishing fit, a Newton search on 1 / T in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(200, classes, generator=generator)
    labels = torch.distributions.Categorical(logits=logits / 1.5).sample()
    accuracy, log_temperature = batch_reliability(logits, labels).tolist()
    assert accuracy == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    wanted = min(max(fit_temperature(logits, labels), COLDEST), HOTTEST)
    assert log_temperature == pytest.approx(math.log(wanted), abs=1e-4)


@pytest.mark.parametrize(("sign", "bound"), [(1.0, COLDEST), (-1.0, HOTTEST)])
def test_a_batch_that_is_all_right_or_all_wrong_stays_within_bounds(sign: float, bound: float) -> None:
    logits = sign * torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    _, log_temperature = batch_reliability(logits, torch.tensor([0, 1])).tolist()
    assert math.exp(log_temperature) == pytest.approx(bound, rel=1e-3)


def test_running_means_count_what_was_seen_and_nothing_before() -> None:
    reliability = TeacherReliability()
    assert (reliability.accuracy, reliability.temperature) == (0.0, 1.0)
    for accuracy, temperature in ((0.5, 2.0), (1.0, 0.5)):
        reliability.add(torch.tensor([accuracy, math.log(temperature)]), decay=0.5)
    # Weights 1/3 and 2/3.
    assert reliability.accuracy == pytest.approx(0.5 / 3 + 2 / 3)
    assert reliability.temperature == pytest.approx(2 ** (1 / 3 - 2 / 3))


def test_a_restored_state_goes_on_as_the_saved_one() -> None:
    first, second = TeacherReliability(), TeacherReliability()
    first.add(torch.tensor([0.25, 0.5]), decay=0.9)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for reliability in (first, second):
        reliability.add(torch.tensor([0.75, -0.5]), decay=0.9)
    assert (first.accuracy, first.temperature) == (second.accuracy, second.temperature)
    first.reset()
    assert first.accuracy == 0
