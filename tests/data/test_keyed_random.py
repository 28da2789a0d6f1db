import numpy as np
import pytest

from adsr_hf.data.keyed_random import permutation, pick, random_bits


def test_an_array_of_keys_gives_what_each_key_gives_alone() -> None:
    epochs, indices = np.array([3, -1, 3]), np.array([7, 7, 8])
    found = random_bits(5, epochs, indices)
    for position in range(3):
        assert found[position] == random_bits(5, int(epochs[position]), indices[[position]])[0]


@pytest.mark.parametrize("shift", [0, 24, 40])
def test_picks_are_spread_evenly(shift: int) -> None:
    picks = pick(random_bits(0, np.arange(14_000)), 14, shift=shift)
    assert picks.dtype == np.int64
    counts = np.bincount(picks, minlength=14)
    assert ((counts - 1000) ** 2 / 1000).sum() < 34.5  # chi-squared, 13 degrees of freedom, p = 0.001


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_permutation_holds_each_place_once_and_depends_on_every_key(size: int) -> None:
    orders = [permutation(size, *keys) for keys in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert sorted(order) == list(range(size))
    if size > 100:
        fixed_points = [int((orders[0] == order).sum()) for order in (*orders[1:], np.arange(size))]
        assert max(fixed_points) < 10  # 1 by chance


def test_a_permutation_cannot_be_changed_by_who_reads_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        permutation(5, 0)[0] = 1
