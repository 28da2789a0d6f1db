import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from adsr_hf.measures.statistics import wilson_interval


@settings(deadline=None)
@given(
    counts=st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))),
    confidence=st.floats(0.5, 0.999),
)
def test_it_equals_scipys_interval(counts: tuple[int, int], confidence: float) -> None:
    expected = binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson_interval(*counts, confidence) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_a_share_of_none_or_all_has_an_exact_end() -> None:
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "total=0 must be at least 1"),
        ((-1, 4), r"successes=-1 must lie in \[0, total=4\]"),
        ((5, 4), r"successes=5 must lie in \[0, total=4\]"),
        ((1, 4, 95), "confidence=95 must lie strictly between 0 and 1"),
        ((1, 4, float("nan")), "confidence=nan must lie strictly"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wilson_interval(*arguments)
