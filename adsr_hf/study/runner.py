"""Runs what is left of a study, some cells at a time, each slot with a process that is kept from cell to cell."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import IO

from adsr_hf.study.cells import LOG_FILE, Cell, begin, end_of, finish, why_refused
from adsr_hf.study.preflight import refuse_unmeasurable
from adsr_hf.training.interrupt import Stopped, signal_of

_WORKER = "adsr_hf.study.worker"
# Enough for a training step and a checkpoint.
_SECONDS_TO_SAVE = 600
# Refused cells that a message names.
_SHOWN = 3


def refuse_other_cells(cells: Sequence[Cell]) -> None:
    """Refuse to count, or to overwrite, what is not of this study.

    Raises:
        ValueError: naming the first folders, and what differs there.
    """
    reasons = [reason for cell in cells if (reason := why_refused(cell)) is not None]
    if reasons:
        more = f"\n  and {len(reasons) - _SHOWN} more cells" if len(reasons) > _SHOWN else ""
        listed = "".join(f"\n  {reason}" for reason in reasons[:_SHOWN])
        raise ValueError(
            f"nothing was run, because of what is there already:{listed}{more}\nPut the study file back, choose "
            "another --output_dir, or remove those folders to run their cells anew"
        )


def run_cells(
    cells: Sequence[Cell], *, parallel: int, threads: int | None, launch: Sequence[str] | None
) -> Iterator[Cell]:
    """Run cells and yield each as it ends, finished or failed: its cell.json says which.

    Args:
        cells: none of them finished.
        parallel: how many at a time, at least 1.
        threads: CPU threads of each.
        launch: arguments of ``accelerate launch``; None for plain processes.

    Raises:
        UsageError: before anything is run, where a cell could be trained but not measured.
        Stopped: after Ctrl-C, SIGTERM, SIGHUP or SIGUSR1, once every running cell has saved a checkpoint or a second
            Ctrl-C came.
    """
    refuse_unmeasurable(cells)
    slots = [_Slot(threads, launch) for _ in range(min(parallel, len(cells)))]
    free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
    for slot in slots:
        free.put(slot)

    def run(cell: Cell) -> Cell:
        slot = free.get()
        try:
            slot.run(cell)
        finally:
            free.put(slot)
        return cell

    pool = ThreadPoolExecutor(max(1, len(slots)))
    futures: list[Future[Cell]] = [pool.submit(run, cell) for cell in cells]
    try:
        for future in as_completed(futures):
            yield future.result()
    except KeyboardInterrupt as stop:
        # The terminal may be gone.
        with contextlib.suppress(OSError):
            print("\nStopping once what is being trained has saved; press Ctrl-C to stop at once.", file=sys.stderr)
        for waiting in futures:
            waiting.cancel()
        for slot in slots:
            slot.interrupt()
        for slot in slots:
            slot.wait(_SECONDS_TO_SAVE)
        raise Stopped(
            "stopped on request; what was being trained has saved a checkpoint. The same command goes on from there",
            signum=signal_of(stop),
        ) from None
    finally:
        for waiting in futures:
            waiting.cancel()
        for slot in slots:
            slot.close()
        pool.shutdown()


@dataclass
class _Slot:
    """One cell at a time."""

    threads: int | None
    launch: Sequence[str] | None
    process: "subprocess.Popen[str] | None" = None
    stopping: bool = field(default=False, init=False)

    def run(self, cell: Cell) -> None:
        """Run the cell; however its process ends, cell.json says so."""
        if self.stopping:
            return
        begin(cell)
        started = time.perf_counter()
        status = self._work(cell) if self.launch is None else self._launched(cell, self.launch)
        if status is not None and end_of(cell) is None and not self.stopping:
            # It died without a word: killed by the system, or in code that is not Python.
            finish(cell, error=f"its process {status}; see {LOG_FILE}", seconds=time.perf_counter() - started)

    def interrupt(self) -> None:
        """Ask for a checkpoint and the end, with a signal that is not ignored where the study runs in background."""
        self.stopping = True
        if self.process is not None and self.process.poll() is None:
            if self.launch is None:
                self.process.send_signal(signal.SIGTERM)
            else:
                # A launcher of one process passes it on to nobody; twice is as good as once.
                os.killpg(self.process.pid, signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Wait for the process to end by itself."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)

    def close(self) -> None:
        """End the process at once; closing its input does it."""
        self.stopping = True
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            self.process.wait()

    def _work(self, cell: Cell) -> str | None:
        """Let the kept process run the cell; how it died, if it did."""
        if self.process is None or self.process.poll() is not None:
            self.process = self._started([sys.executable, "-m", _WORKER, *self._options()], subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(cell.folder, file=self.process.stdin, flush=True)
            answered = self.process.stdout.readline() != ""
        except OSError:
            answered = False
        return None if answered else _how_it_ended(self.process.wait())

    def _launched(self, cell: Cell, launch: Sequence[str]) -> str:
        """Run the cell through accelerate; how the launcher ended."""
        command = [sys.executable, "-m", "accelerate.commands.launch", *launch, "-m", _WORKER, *self._options()]
        with open(cell.folder / LOG_FILE, "ab") as log:
            self.process = self._started([*command, str(cell.folder)], log)
            return _how_it_ended(self.process.wait())

    def _options(self) -> list[str]:
        return [] if self.threads is None else ["--threads", str(self.threads)]

    @staticmethod
    def _started(command: list[str], output: int | IO[bytes]) -> "subprocess.Popen[str]":
        # In a session of its own: a terminal's Ctrl-C must reach it once, through interrupt(), and not twice.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=None if output is subprocess.PIPE else subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def _how_it_ended(status: int) -> str:
    if status < 0:
        memory = " (by the system, if memory ran out)" if -status == signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-status).name}{memory}"
    return f"ended with status {status}"
