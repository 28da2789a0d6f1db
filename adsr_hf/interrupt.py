"""Ctrl-C during training: finish the step, save, say how to continue."""

import signal
import threading
from types import FrameType
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """Training stopped at the user's wish, after a checkpoint was written.

    Attributes:
        checkpoint: folder to continue from.
    """

    def __init__(self, checkpoint: str) -> None:
        super().__init__(
            f"stopped on request; saved {checkpoint}. Continue with resume_from_checkpoint={checkpoint} "
            "(or resume_from_checkpoint=true for the newest one)"
        )
        self.checkpoint = checkpoint


class InterruptRequest:
    """Context manager that turns the first SIGINT into a request and lets a second one through.

    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> "InterruptRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nStopping after this step, with a checkpoint; press Ctrl-C again to stop at once.", flush=True)
