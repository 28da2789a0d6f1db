"""How long an evaluation will still take: said when it begins, and again where that turns out wrong."""

import time
from collections.abc import Callable

# A machine that is busy or idle for a moment shall not be heard of.
LEAST_SECONDS = 20.0
# The time since something was said, with what is left now, may differ from it by this factor, and by so many seconds.
FACTOR = 1.5
LEAST_DIFFERENCE = 30.0
# Of a unit's weight what is left when the next one is done.
_MEMORY = 0.8


class RemainingTime:
    """Estimates the seconds left from work that is planned in passes, whatever these turn out to take.

    Args:
        announce: gets the seconds that are left: once at the beginning, and again whenever what was said last turns
            out to be wrong by more than a :data:`FACTOR`.
        clock: seconds, from any beginning.
    """

    def __init__(self, announce: Callable[[float], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self._announce = announce
        self._clock = clock
        self._finished_at = 0.0
        self._seconds = self._passes = 0.0
        self._said_at, self._said = 0.0, 0.0

    def begin(self, seconds: float) -> None:
        """Say what is expected."""
        self._finished_at = self._clock()
        self._say(seconds)

    def finish(self, planned: float, left: float) -> None:
        """A unit of work is done.

        Args:
            planned: passes that were planned for it, also where it was over earlier.
            left: passes that are still planned.
        """
        now = self._clock()
        # Units whose images fall early count with the time that they took, and older units ever less.
        self._seconds = _MEMORY * self._seconds + now - self._finished_at
        self._passes = _MEMORY * self._passes + planned
        self._finished_at = now
        if now - self._said_at < LEAST_SECONDS or not self._passes:
            return
        seconds = left * self._seconds / self._passes
        low, high = sorted((now - self._said_at + seconds, self._said))
        if high > FACTOR * low and high - low > LEAST_DIFFERENCE:
            self._say(seconds)

    def _say(self, seconds: float) -> None:
        self._said_at, self._said = self._clock(), seconds
        self._announce(seconds)
