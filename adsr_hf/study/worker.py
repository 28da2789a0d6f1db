"""The process that runs cells: ``python -m adsr_hf.study.worker [--threads N] [FOLDER]``.

With a FOLDER it runs that cell and ends with 0, or 1 where the cell failed. Without, it runs one cell after another,
whose folders it reads from standard input line by line, and answers each with a line on standard output. Either way
standard input must stay open: when the study that started it is killed, so that the pipe closes, the process ends at
once, and nothing goes on writing into a folder that a second study may already have taken up.
"""

import argparse
import os
import queue
import sys
import threading
from pathlib import Path
from typing import NoReturn

from adsr_hf.study.cells import LOG_FILE
from adsr_hf.training.interrupt import StoppableCommand, exit_status

ORPHANED = 1


def main(words: list[str]) -> int:
    """Run the cells and return the exit status."""
    parser = argparse.ArgumentParser(prog="adsr_hf.study.worker")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("folder", type=Path, nargs="?")
    arguments = parser.parse_args(words)
    folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
    threading.Thread(target=_read_folders, args=(folders,), daemon=True).start()
    try:
        with StoppableCommand():
            if arguments.folder is not None:
                return 0 if _run(arguments.folder, arguments.threads) else 1
            _serve(folders, arguments.threads)
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr, flush=True)
        return exit_status(stop)


def _serve(folders: "queue.SimpleQueue[Path]", threads: int | None) -> NoReturn:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    while True:
        folder = folders.get()
        _log_to(folder / LOG_FILE)
        _run(folder, threads)
        print("done", file=answers, flush=True)


def _run(folder: Path, threads: int | None) -> bool:
    # Not before the first cell is there: importing takes seconds, in which Ctrl-C should end the process.
    from adsr_hf.study.work import run_cell

    return run_cell(folder, threads=threads)


def _read_folders(folders: "queue.SimpleQueue[Path]") -> None:
    for line in sys.stdin:
        folders.put(Path(line.rstrip("\n")))
    os._exit(ORPHANED)


def _log_to(path: Path) -> None:
    """Send both streams to the log, at the level of the file descriptors, which libraries written in C use too."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(path, "ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
