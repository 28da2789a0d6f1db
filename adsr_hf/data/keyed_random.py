"""Randomness that is a function of its keys alone.

Nothing is drawn from a generator, so that a resumed run repeats it, in any batch, order, worker or process.
"""

from functools import lru_cache

import numpy as np

_WORD = 2**64 - 1
_PICK_BITS = np.uint64(24)
_PICK_MASK = np.uint64(2**24 - 1)


def random_bits(*keys: int | np.ndarray) -> np.ndarray:
    """64 random bits for each combination of keys: SplitMix64's finaliser over the keys in turn.

    Args:
        keys: any integers, and integer arrays of one shape (B,); at least one array.

    Returns:
        (B,), uint64.
    """
    state = np.zeros(np.broadcast_shapes(*map(np.shape, keys)), dtype=np.uint64)
    for key in keys:
        state = _mix(state ^ (key.astype(np.uint64) if isinstance(key, np.ndarray) else np.uint64(key & _WORD)))
    return state


def pick(bits: np.ndarray, choices: int, *, shift: int = 0) -> np.ndarray:
    """A whole number in [0, ``choices``) from 24 of the bits, those above the lowest ``shift``.

    Args:
        bits: (B,), uint64.

    Returns:
        (B,), int64.
    """
    picked = (((bits >> np.uint64(shift)) & _PICK_MASK) * np.uint64(choices)) >> _PICK_BITS
    return picked.astype(np.int64)


@lru_cache(maxsize=4)
def permutation(size: int, *keys: int) -> np.ndarray:
    """A random order of 0 … size − 1 for these keys, (size,) int64, not to be written to."""
    order = np.argsort(random_bits(*keys, np.arange(size)), kind="stable")
    order.flags.writeable = False
    return order


def _mix(words: np.ndarray) -> np.ndarray:
    """Steele, Lea & Flood, *Fast Splittable Pseudorandom Number Generators* (OOPSLA 2014), with its increment."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
