"""Ctrl-C during training: finish the step, save, say how to continue."""

import signal
import threading
from types import FrameType
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """Training stopped at the user's wish, after a checkpoint was written.

    Attributes:
        checkpoint: folder that was saved.
        resumable: whether training can continue from it: not with ``save_only_model=True``.
    """

    def __init__(self, checkpoint: str, *, resumable: bool = True) -> None:
        how = (
            f"Continue with resume_from_checkpoint={checkpoint} (or resume_from_checkpoint=true for the newest one)"
            if resumable
            else "It holds weights alone (save_only_model=True), so this run cannot be continued"
        )
        super().__init__(f"stopped on request; saved {checkpoint}. {how}")
        self.checkpoint = checkpoint
        self.resumable = resumable


class InterruptRequest:
    """Context manager that turns the first SIGINT into a request and lets a second one through.

    Where SIGINT is ignored, as in a shell's background job, it stays ignored. Outside the main thread, where Python
    allows no signal handlers, the manager does nothing.

    Raises:
        KeyboardInterrupt: on leaving, when a request came too late for any step to honour it.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> "InterruptRequest":
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
        if self.requested and exception_type is None:
            raise KeyboardInterrupt("stopped on request; training had just finished")

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nStopping after this step, with a checkpoint; press Ctrl-C again to stop at once.", flush=True)
