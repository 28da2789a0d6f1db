"""Ctrl-C and the signals by which a machine asks a program to stop. Imports nothing heavy.

Training finishes its step and saves; everything else stops where it is, since what it has finished is on disk.
SIGTERM comes from ``kill``, containers and schedulers, SIGUSR1 from schedulers ahead of it, SIGHUP from a terminal
that closes.
"""

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

# Those that exist on this system; Windows has the first two alone.
_STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
_OUTPUTS = (1, 2)


class Stopped(KeyboardInterrupt):
    """The program was asked to stop.

    Attributes:
        signum: the signal that asked.
    """

    def __init__(self, message: str = "", *, signum: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signum = signum


class TrainingInterrupted(Stopped):
    """Training stopped at the user's wish, after a checkpoint was written.

    Attributes:
        checkpoint: folder that was saved.
        resumable: whether training can continue from it: not with ``save_only_model=True``.

    Args:
        signum: the signal that asked; None where another process of the run had it, which is then told as SIGTERM.
    """

    def __init__(self, checkpoint: str, *, resumable: bool = True, signum: int | None = signal.SIGINT) -> None:
        how = (
            f"Continue with resume_from_checkpoint={checkpoint} (or resume_from_checkpoint=true for the newest one)"
            if resumable
            else "It holds weights alone (save_only_model=True), so this run cannot be continued"
        )
        super().__init__(f"stopped on request; saved {checkpoint}. {how}", signum=signum or signal.SIGTERM)
        self.checkpoint = checkpoint
        self.resumable = resumable


def exit_status(stop: KeyboardInterrupt) -> int:
    """128 + signal, as shells have it."""
    return 128 + signal_of(stop)


def signal_of(stop: KeyboardInterrupt) -> int:
    """The signal behind an interruption; Python's own is Ctrl-C."""
    return stop.signum if isinstance(stop, Stopped) else signal.SIGINT


class _Handlers:
    """Handlers of stopping signals that are put in place and taken back."""

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()

    def _install(self, signals: list[int]) -> None:
        # Python allows handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            self._previous = {signum: signal.signal(signum, self._on_signal) for signum in signals}

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        raise NotImplementedError


class StoppableCommand(_Handlers):
    """Context manager under which SIGTERM, SIGHUP and SIGUSR1 raise :class:`Stopped`, as Ctrl-C raises its parent.

    Once: they may be sent twice, to a process and to its group. Signals that are ignored, as SIGHUP under ``nohup``,
    or have another handler, are left alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._raised = False

    def __enter__(self) -> "StoppableCommand":
        free = [
            signum for signum in _STOPPING if signum != signal.SIGINT and signal.getsignal(signum) is signal.SIG_DFL
        ]
        self._install(free)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            _die_of(signum)
        if not self._raised:
            self._raised = True
            raise Stopped(signum=signum)


class InterruptRequest(_Handlers):
    """Context manager that turns the first stopping signal into a request and lets a second Ctrl-C through.

    A signal that is ignored, as SIGINT in a shell's background job, stays ignored, and a handler that the program has
    for another signal than SIGINT stays in place. Outside the main thread, where Python allows no signal handlers, the
    manager does nothing. Processes that are forked inside leave the matter to this one.

    Raises:
        Stopped: on leaving, when a request came too late for any step to honour it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signum: int | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signum is not None

    def __enter__(self) -> "InterruptRequest":
        self._install([signum for signum in _STOPPING if _may_be_replaced(signum)])
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        self._restore()
        if self.signum is not None and exception_type is None:
            raise Stopped("stopped on request; training had just finished", signum=self.signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if signum == signal.SIGTERM:
                _die_of(signum)
            return
        if self.signum is not None:
            if signum == signal.SIGINT:
                raise Stopped(signum=signum)
            return
        self.signum = signum
        _leave_closed_terminal()
        if signum == signal.SIGINT:
            _say("\nStopping after this step, with a checkpoint; press Ctrl-C again to stop at once.\n")
        else:
            _say(f"\n{signal.Signals(signum).name}: stopping after this step, with a checkpoint.\n")


def _may_be_replaced(signum: int) -> bool:
    handler = signal.getsignal(signum)
    if signum == signal.SIGINT:
        return handler is not signal.SIG_IGN
    return handler is signal.SIG_DFL or isinstance(getattr(handler, "__self__", None), StoppableCommand)


def _die_of(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _say(text: str) -> None:
    # Not with print: the handler may have cut into one, and a stream cannot be entered twice.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def _leave_closed_terminal() -> None:
    """Send output nowhere where its terminal is gone: the next log line would end the run before it is saved."""
    for descriptor in _OUTPUTS:
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def shield_worker(then: Callable[[int], None] | None, worker: int) -> None:
    """Keep a data loader's process alive through a SIGTERM to all processes of a run: the last step needs its images.

    Called in that process, as its ``worker_init_fn``. Its parent can still end it.

    Args:
        then: another ``worker_init_fn``, called afterwards.
        worker: number of the process.
    """
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()
    if then is not None:
        then(worker)


def shield_workers(loader: Any) -> Any:
    """The data loader, whose processes outlive a signal that asks the run to save and stop."""
    # accelerate wraps loaders without being one.
    inner = getattr(loader, "base_dataloader", loader)
    if getattr(inner, "num_workers", 0) > 0 and getattr(inner.worker_init_fn, "func", None) is not shield_worker:
        inner.worker_init_fn = partial(shield_worker, inner.worker_init_fn)
    return loader


def _obey_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
