import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.training.meters import TrainingMeters

CPU = torch.device("cpu")
BATCHES = st.lists(
    st.tuples(st.floats(-100, 100, width=32), st.floats(0, 1, width=32), st.integers(1, 64)), min_size=1, max_size=12
)


def _means(meters: TrainingMeters) -> dict[str, float]:
    names, totals = meters.totals(CPU)
    *sums, images, _ = totals.tolist()
    return {name: value / images for name, value in zip(names, sums, strict=True)}


@given(BATCHES)
def test_means_are_weighted_by_images(batches: list[tuple[float, float, int]]) -> None:
    meters = TrainingMeters()
    for first, second, images in batches:
        meters.add({"b": first, "a": torch.tensor(second)}, images=images)
    total = sum(images for *_, images in batches)
    names, totals = meters.totals(CPU)
    assert names == ["a", "b"]
    assert totals.dtype == torch.float64
    assert totals[2] == total
    means = _means(meters)
    assert means["b"] == pytest.approx(sum(first * images for first, _, images in batches) / total, abs=1e-3)
    assert means["a"] == pytest.approx(sum(second * images for _, second, images in batches) / total, abs=1e-5)


@given(BATCHES, st.integers(0, 12))
def test_a_restored_meter_goes_on_where_it_was(batches: list[tuple[float, float, int]], cut: int) -> None:
    whole, before, after = TrainingMeters(), TrainingMeters(), TrainingMeters()
    after.add({"forgotten": 1.0}, images=3)
    for first, second, images in batches[:cut]:
        before.add({"b": first, "a": second}, images=images)
    after.load_state_dict(before.state_dict())
    for index, (first, second, images) in enumerate(batches):
        whole.add({"b": first, "a": second}, images=images)
        if index >= cut:
            after.add({"b": first, "a": second}, images=images)
    (names, totals), (expected_names, expected) = after.totals(CPU), whole.totals(CPU)
    assert names == expected_names
    assert torch.equal(totals, expected)


def test_totals_of_ranks_add_up_to_the_mean_over_all_images() -> None:
    ranks = [TrainingMeters(), TrainingMeters()]
    ranks[0].add({"loss": 1.0}, images=3)
    ranks[1].add({"loss": 5.0}, images=1)
    summed, images, _ = (ranks[0].totals(CPU)[1] + ranks[1].totals(CPU)[1]).tolist()
    assert summed / images == 2.0


def test_values_keep_no_graph_and_may_be_half_precision() -> None:
    meters = TrainingMeters()
    value = torch.tensor(3.0, requires_grad=True)
    meters.add({"x": value * 2}, images=2)
    meters.add({"x": torch.tensor(6.0, dtype=torch.bfloat16)}, images=2)
    totals = meters.totals(CPU)[1]
    assert not totals.requires_grad
    assert totals.tolist() == [24.0, 4.0, 0.0]


def test_reset_forgets_figures_and_time() -> None:
    meters = TrainingMeters()
    meters.add({"x": 1.0}, images=2)
    meters.start_clock()
    meters.stop_clock()
    meters.reset()
    names, totals = meters.totals(CPU)
    assert names == []
    assert totals.tolist() == [0.0, 0.0]


def test_the_clock_counts_only_between_start_and_stop() -> None:
    meters = TrainingMeters()
    meters.stop_clock()
    began = time.perf_counter()
    for _ in range(2):
        meters.start_clock()
        time.sleep(0.02)
        meters.start_clock()
        time.sleep(0.02)
        meters.stop_clock()
        ended = time.perf_counter()
    time.sleep(0.05)
    meters.stop_clock()
    assert 0.08 <= float(meters.totals(CPU)[1][-1]) <= ended - began
