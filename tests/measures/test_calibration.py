import itertools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from adsr_hf.measures.calibration import (
    BINNINGS,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    mean_confidence,
    negative_log_likelihood,
    reliability_bins,
)
from adsr_hf.measures.temperature import fit_temperature


@st.composite
def logits_and_labels(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random logits from nearly flat to saturated, with labels from random to mostly right."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    images, classes = draw(st.integers(1, 120)), draw(st.integers(2, 12))
    logits = draw(st.sampled_from([0.1, 1.0, 4.0, 30.0])) * torch.randn(images, classes, generator=generator)
    labels = torch.randint(classes, (images,), generator=generator)
    right = torch.rand(images, generator=generator) < draw(st.sampled_from([0.0, 0.5, 0.95]))
    return logits.to(dtype), torch.where(right, logits.argmax(1), labels)


def binary(*confidences_and_right: tuple[float, bool]) -> tuple[Tensor, Tensor]:
    """Two-class probabilities whose first class has the given confidence, and labels that make it right or wrong."""
    confidences = torch.tensor([confidence for confidence, _ in confidences_and_right], dtype=torch.float64)
    labels = torch.tensor([0 if right else 1 for _, right in confidences_and_right])
    return torch.stack([confidences, 1 - confidences], 1), labels


def by_the_definition(probabilities: Tensor, labels: Tensor, bins: int) -> float:
    """Guo et al. 2017, section 2, by loops over the bins ((m − 1) / M, m / M], the first with 0."""
    confidence, prediction = probabilities.double().max(1)
    right, error = (prediction == labels).double(), 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins) | (confidence == 0) & (m == 1)
        if inside.any():
            gap = (right[inside].mean() - confidence[inside].mean()).abs().item()
            error += inside.double().mean().item() * gap
    return error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(deadline=None)
@given(data=st.data(), bins=st.integers(1, 30))
def test_equal_width_equals_torchmetrics_below_certainty(dtype: torch.dtype, data: st.DataObject, bins: int) -> None:
    logits, labels = data.draw(logits_and_labels(dtype))
    # It puts a confidence of exactly 1 into a bin of its own.
    probabilities = (0.999 * logits.softmax(1) + 0.001 / logits.shape[1]).to(dtype)
    expected = multiclass_calibration_error(probabilities, labels, logits.shape[1], n_bins=bins, norm="l1").item()
    # It adds up in float32.
    assert expected_calibration_error(probabilities, labels, bins=bins) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None)
@given(case=logits_and_labels(), bins=st.integers(1, 30))
def test_equal_width_is_the_definition_also_where_the_model_is_certain(case: tuple, bins: int) -> None:
    probabilities, labels = case[0].softmax(1), case[1]
    found = expected_calibration_error(probabilities, labels, bins=bins)
    assert found == pytest.approx(by_the_definition(probabilities, labels, bins), abs=1e-6)


@settings(deadline=None)
@given(bins=st.integers(2, 40), data=st.data())
def test_confidences_on_the_edges_fall_into_the_bin_below(bins: int, data: st.DataObject) -> None:
    """Counted in whole steps of 1 / bins, so that no rounding decides; a confidence of 1 is bins of them."""
    steps = data.draw(st.lists(st.tuples(st.integers((bins + 1) // 2, bins), st.booleans()), min_size=1, max_size=20))
    probabilities, labels = binary(*((step / bins, right) for step, right in steps))
    entries = reliability_bins(probabilities, labels, bins=bins)
    assert len(entries) == bins
    for number, entry in enumerate(entries):
        assert entry.count == sum(step == number + 1 for step, _ in steps)
        assert (entry.lower, entry.upper) == (pytest.approx(number / bins), pytest.approx((number + 1) / bins))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certain_image_and_a_nearly_certain_one_share_the_last_bin(dtype: torch.dtype) -> None:
    """Right at 0.95 and wrong at 1: 1/2 against 0.975; in bins of their own it would be (0.05 + 1) / 2."""
    probabilities = torch.tensor([[0.95, 0.05], [1.0, 0.0]], dtype=dtype)
    labels = torch.tensor([0, 1])
    entries = reliability_bins(probabilities, labels)
    assert [entry.count for entry in entries] == [0] * 14 + [2]
    assert entries[-1].upper == 1
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.475, abs=1e-6)


def test_a_probability_of_nought_is_in_the_first_bin() -> None:
    """Class 0: 1 of 2 against 1.0 in the last bin; class 1: 1 of 2 against 0 in the first."""
    probabilities, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    assert classwise_calibration_error(probabilities, labels) == pytest.approx(0.5)


@settings(deadline=None)
@given(case=logits_and_labels(), bins=st.integers(1, 30), binning=st.sampled_from(BINNINGS))
def test_the_error_lies_between_the_overall_gap_and_one(case: tuple, bins: int, binning: str) -> None:
    probabilities, labels = case[0].softmax(1), case[1]
    error = expected_calibration_error(probabilities, labels, bins=bins, binning=binning)
    accuracy = (probabilities.argmax(1) == labels).double().mean().item()
    assert abs(accuracy - mean_confidence(probabilities)) - 1e-12 <= error <= 1


@settings(deadline=None)
@given(case=logits_and_labels(), bins=st.integers(1, 30), binning=st.sampled_from(BINNINGS))
def test_bins_hold_every_image_once_inside_their_interval(case: tuple, bins: int, binning: str) -> None:
    probabilities, labels = case[0].softmax(1), case[1]
    entries = reliability_bins(probabilities, labels, bins=bins, binning=binning)
    assert sum(entry.count for entry in entries) == len(labels)
    assert all(left.upper == right.lower for left, right in itertools.pairwise(entries))
    rounding = 1e-7
    for entry in entries:
        if entry.count:
            assert entry.lower - rounding <= entry.confidence <= entry.upper + rounding
        else:
            assert math.isnan(entry.accuracy)
            assert math.isnan(entry.confidence)


@settings(deadline=None)
@given(case=logits_and_labels(), bins=st.integers(1, 30), seed=st.integers(0, 99))
def test_equal_mass_bins_have_equal_counts_in_any_order(case: tuple, bins: int, seed: int) -> None:
    probabilities, labels = case[0].softmax(1), case[1]
    assume(len(labels) >= bins and len(probabilities.amax(1).unique()) == len(labels))
    entries = reliability_bins(probabilities, labels, bins=bins, binning="equal_mass")
    counts = [entry.count for entry in entries]
    assert len(counts) == bins
    assert max(counts) - min(counts) <= 1
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = reliability_bins(probabilities[order], labels[order], bins=bins, binning="equal_mass")
    for entry, other in zip(entries, shuffled, strict=True):
        assert (entry.count, entry.accuracy) == (other.count, other.accuracy)
        assert entry.confidence == pytest.approx(other.confidence, abs=1e-12)


def test_equal_mass_never_parts_equal_confidences() -> None:
    probabilities, labels = binary((0.6, True), (0.6, False), (0.6, True), (0.9, True))
    entries = reliability_bins(probabilities, labels, bins=2, binning="equal_mass")
    assert [entry.count for entry in entries] == [0, 4]
    assert (entries[1].lower, entries[1].upper, entries[1].accuracy) == (0.6, 0.9, 0.75)


def test_bins_by_hand() -> None:
    probabilities, labels = binary((0.5, True), (0.6, False), (0.75, True), (0.9, True))
    below, above = reliability_bins(probabilities, labels, bins=2)
    assert (below.lower, below.upper, below.count, below.accuracy, below.confidence) == (0.0, 0.5, 1, 1.0, 0.5)
    assert (above.lower, above.upper, above.count, above.accuracy) == (0.5, 1.0, 3, pytest.approx(2 / 3))
    assert above.confidence == pytest.approx(0.75)
    # Edges at 0.25, 0.5, 0.75 part them into {0.5}, {0.6, 0.75} and {0.9}: ¼·½ + ½·|½ − 0.675| + ¼·0.1.
    assert expected_calibration_error(probabilities, labels, bins=4) == pytest.approx(0.125 + 0.0875 + 0.025)
    # {0.5}, {0.6}, {0.75}, {0.9}: the mean of 0.5, 0.6, 0.25 and 0.1.
    equal_mass = expected_calibration_error(probabilities, labels, bins=4, binning="equal_mass")
    assert equal_mass == pytest.approx(0.3625)


def test_scores_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]], dtype=torch.float64)
    labels = torch.tensor([0, 2])
    assert brier_score(probabilities, labels) == pytest.approx((0.14 + 0.62) / 2)
    assert mean_confidence(probabilities) == pytest.approx(0.6)
    likelihood = negative_log_likelihood(probabilities.log() + 5, labels)
    assert likelihood == pytest.approx(-(math.log(0.7) + math.log(0.4)) / 2)


def test_scores_are_computed_in_float64() -> None:
    logits = torch.randn(2000, 10, generator=torch.Generator().manual_seed(0))
    labels = logits.argmax(1)
    exact = -logits.double().log_softmax(1).gather(1, labels[:, None]).mean().item()
    assert negative_log_likelihood(logits, labels) == pytest.approx(exact, rel=1e-13)


@settings(deadline=None)
@given(case=logits_and_labels())
def test_a_fitted_temperature_is_where_an_independent_search_finds_it(case: tuple) -> None:
    logits, labels = case

    def likelihood(log_temperature: float) -> float:
        return negative_log_likelihood(logits / math.exp(log_temperature), labels)

    bounds = (math.log(0.01), math.log(100))
    found = minimize_scalar(likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    # Separable labels and labels that chance could have drawn leave a flat valley towards a bound.
    assume(min(likelihood(bound) for bound in bounds) > found.fun + 1e-3)
    temperature = fit_temperature(logits, labels)
    assert likelihood(math.log(temperature)) <= found.fun + 1e-12
    assert temperature == pytest.approx(math.exp(found.x), rel=1e-3)


@pytest.mark.parametrize("temperature", [0.05, 0.28, 1.0, 2.5, 30.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * temperature * torch.randn(20_000, 10, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator).squeeze(1)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(temperature, rel=0.03)
    assert expected_calibration_error((logits / fitted).softmax(1), labels) < 0.01


@pytest.mark.filterwarnings("ignore:the best temperature")
@settings(deadline=None)
@given(case=logits_and_labels())
def test_a_fitted_temperature_keeps_predictions_and_never_raises_the_likelihood_loss(case: tuple) -> None:
    logits, labels = case
    temperature = fit_temperature(logits, labels)
    assert 0.01 <= temperature <= 100
    assert torch.equal((logits / temperature).argmax(1), logits.argmax(1))
    before, after = (negative_log_likelihood(scaled, labels) for scaled in (logits, logits / temperature))
    assert after <= before + 1e-12


def test_temperatures_at_a_bound_are_announced() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    with pytest.warns(UserWarning, match=r"at or below 0\.01"):
        assert fit_temperature(logits, torch.tensor([0, 1])) == 0.01
    with pytest.warns(UserWarning, match="at or above 100"):
        assert fit_temperature(logits, torch.tensor([1, 0])) == 100.0


GOOD = torch.full((3, 2), 0.5)
LABELS = torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("probabilities", "labels", "options", "message"),
    [
        (GOOD[0], LABELS, {}, r"probabilities must have shape \(N, K\).*got \(2,\)"),
        (GOOD[:, :1], LABELS, {}, r"K >= 2 classes, got \(3, 1\)"),
        (GOOD[:0], LABELS[:0], {}, r"probabilities of shape \(0, 2\) holds no images"),
        (GOOD.long(), LABELS, {}, r"probabilities must be float, got torch\.int64"),
        (GOOD * torch.nan, LABELS, {}, r"probabilities must be finite, got \[nan, nan\] in row 0"),
        (2 * GOOD, LABELS, {}, r"sum of 2 in row 0; pass logits\.float\(\)\.softmax\(1\)"),
        (GOOD + torch.tensor([-1.0, 1.0]), LABELS, {}, r"a minimum of -0\.5 and a sum of 1 in row 0"),
        (GOOD, LABELS[:2], {}, r"labels must have shape \(3,\), one for each row, got \(2,\)"),
        (GOOD, GOOD, {}, r"labels must have shape \(3,\), one for each row, got \(3, 2\)"),
        (GOOD, LABELS.float(), {}, r"labels must be integer class indices, got torch\.float32"),
        (GOOD, LABELS + 2, {}, r"labels must lie in \[0, 2\) for 2 classes, got values from 2 to 2"),
        (GOOD, LABELS - 1, {}, r"labels must lie in \[0, 2\) for 2 classes, got values from -1 to -1"),
        (GOOD, LABELS, {"bins": 0}, "bins=0 must be at least 1"),
        (
            GOOD,
            LABELS,
            {"binning": "quantile"},
            "binning='quantile' is unknown; choose one of equal_width, equal_mass",
        ),
    ],
)
def test_wrong_inputs_are_named(probabilities: Tensor, labels: Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(probabilities, labels, **options)


def test_logits_are_checked_by_their_own_name() -> None:
    for function in (negative_log_likelihood, fit_temperature):
        with pytest.raises(ValueError, match=r"logits must be finite, got \[inf, 0\.0\] in row 1"):
            function(torch.tensor([[0.0, 0.0], [torch.inf, 0.0]]), torch.tensor([0, 1]))


# Seed 35: the rounded slope at the bound is above 0.
@pytest.mark.parametrize(("seed", "scale"), [(35, 10), (0, 10), (0, 300)])
def test_saturated_logits_that_are_all_right_are_at_the_bound(seed: int, scale: float) -> None:
    logits = scale * torch.randn(12, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"at or below 0\.01"):
        assert fit_temperature(logits, logits.argmax(1)) == 0.01


class TestWeights:
    """An image of weight w counts like w copies of it."""

    @settings(deadline=None)
    @given(case=logits_and_labels(), data=st.data())
    @pytest.mark.filterwarnings("ignore:the best temperature")
    def test_whole_weights_are_copies(self, case: tuple, data: st.DataObject) -> None:
        logits, labels = case
        counts = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels))))
        assume(counts.sum() > 0)
        copied = fit_temperature(logits.repeat_interleave(counts, 0), labels.repeat_interleave(counts))
        assert fit_temperature(logits, labels, weights=counts) == pytest.approx(copied, rel=1e-6)

    @pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
    def test_weights_that_are_not_allowed(self, weights: list[float]) -> None:
        with pytest.raises(ValueError, match="weights must be finite and at least 0, and not all 0"):
            fit_temperature(torch.randn(2, 3), torch.tensor([0, 1]), weights=torch.tensor(weights))

    def test_one_weight_for_each_image(self) -> None:
        with pytest.raises(ValueError, match=r"weights must have shape \(2,\).*got \(3,\)"):
            fit_temperature(torch.randn(2, 3), torch.tensor([0, 1]), weights=torch.ones(3))
