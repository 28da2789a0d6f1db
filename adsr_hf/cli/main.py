"""The ``adsr`` command: finds the sub-command and turns expected errors into one line and an exit status.

It imports nothing heavy, so that ``adsr --help`` answers at once.
"""

import sys
from contextlib import suppress
from importlib import import_module

from adsr_hf._version import __version__
from adsr_hf.settings.errors import UsageError
from adsr_hf.training.interrupt import StoppableCommand, exit_status

COMMANDS = {
    "init": "write a recipe for a folder of photos, with the reason of each choice",
    "threat": "help to choose the radius: the noise of your photos, and what each radius looks like",
    "train": "train a classifier from a recipe (clean, pgd_at or adsr)",
    "evaluate": "measure a checkpoint: accuracy, robust accuracy, calibration, stability, sanity",
    "compare": "the A/B test of two measured models: differences, intervals, verdicts",
    "gate": "decide by a policy whether a candidate replaces the current model",
    "promote": "serve the candidate of a decision, and keep the former model",
    "rollback": "return to the model that a decision names",
    "report": "one self-contained page about measured models, in English or Japanese",
    "study": "a grid of recipes and seeds, resumable, ending in one table with tests against a baseline",
    "demo": "train three ways on handwritten digits and show what each buys (about 3 minutes on 2 cores)",
}

OK, FAILURE, USAGE = 0, 1, 2

_CONTINUING = ("evaluate", "study", "demo")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 failed, 2 not understood, 128 + signal after a signal.

    Ctrl-C is signal 2; SIGTERM, SIGHUP and SIGUSR1 do what it does.
    ``adsr gate`` has its own: 0 promote, 3 keep, 2 not decidable, and 1 for every error.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return OK if words else USAGE
    if words[0] == "--version":
        print(f"adsr_hf {__version__}")
        return OK
    traceback = "--traceback" in words
    command, *rest = [word for word in words if word != "--traceback"]
    if command not in COMMANDS:
        return _complain(f"unknown command {command!r}; choose one of {', '.join(COMMANDS)}", USAGE)
    try:
        with StoppableCommand():
            return import_module(f"adsr_hf.cli.{command}").run(rest)
    except UsageError as error:
        return _complain(str(error), USAGE)
    except KeyboardInterrupt as stop:
        goes_on = "what is finished is kept, and the same command continues"
        way_on = goes_on if command in _CONTINUING else "the same command does it again"
        message, status = str(stop) or f"stopped; {way_on}", exit_status(stop)
    except (ValueError, TypeError, ImportError, OSError, RuntimeError, FloatingPointError) as error:
        if traceback:
            raise
        return _complain(f"{error}", FAILURE)
    # The traceback is gone, and with it the progress bars that it held.
    return _tell(message, status)


def _complain(message: str, status: int) -> int:
    return _tell(f"error: {message}", status)


def _tell(message: str, status: int) -> int:
    # The terminal may be gone.
    with suppress(OSError):
        print(f"adsr: {message}", file=sys.stderr, flush=True)
    return status


def _help() -> str:
    commands = "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    return (
        "usage: adsr COMMAND ...\n\n"
        "Image classifiers that small changes of the input cannot fool: training, and proof.\n\n"
        f"commands:\n{commands}\n\n"
        "`adsr COMMAND --help` explains a command. --traceback shows where an error came from; --version the version."
    )
