"""What a run's folder holds, and the one way on from there: to start, to continue, or to go elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainerState
from transformers.utils import logging

from adsr_hf.networks.weights import STUDENT_FILE, CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.training.checkpoints import MANIFEST_FILE, RUN_FILE, remove_checkpoint, verify_checkpoint

logger = logging.get_logger(__name__)

STATE_FILE = "trainer_state.json"
# Without these Trainer would continue with a fresh optimizer, and say nothing.
_NEEDED_TO_CONTINUE = (STATE_FILE, "optimizer.pt", "scheduler.pt")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", STUDENT_FILE)


@dataclass(frozen=True)
class RunFolder:
    """An output_dir.

    Attributes:
        path: the folder, which need not exist.
        newest: the newest checkpoint that a run can be continued from, by its number of steps.
        unusable: newer ones that a run cannot be continued from, though they were finished, and why.
        unfinished: newer ones whose writing was cut off.
        results: names of files there that a finished run leaves.
    """

    path: Path
    newest: Path | None
    unusable: dict[Path, str]
    unfinished: tuple[Path, ...]
    results: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, results: Sequence[str] = ()) -> "RunFolder":
        """Look at a folder, from its newest checkpoint back to the first that is whole; ``results`` are looked for."""
        found = tuple(name for name in results if (path / name).exists())
        unusable: dict[Path, str] = {}
        unfinished: list[Path] = []
        for checkpoint in reversed(checkpoint_folders(path)):
            if _is_unfinished(checkpoint):
                unfinished.append(checkpoint)
                continue
            reason = why_not_continued(checkpoint)
            if reason is None:
                return cls(path, checkpoint, unusable, tuple(unfinished), found)
            unusable[checkpoint] = reason
        return cls(path, None, unusable, tuple(unfinished), found)

    @property
    def way_on(self) -> str:
        """What to do with the folder, for messages."""
        if self.newest is not None:
            return (
                f"continue it from {self.newest.name} with resume_from_checkpoint=True (on the command line: "
                "--resume_from_checkpoint true), or choose another output_dir"
            )
        if self.unusable:
            return f"it cannot be continued: {next(iter(self.unusable.values()))}. Choose another output_dir"
        if self.results:
            return f"it has results ({', '.join(self.results)}) and nothing to continue; choose another output_dir"
        if self.unfinished:
            return (
                f"{self.unfinished[0].name} was not finished, so there is nothing to continue; leave "
                "resume_from_checkpoint out to start anew, which removes what is unfinished"
            )
        return "leave resume_from_checkpoint out to start a new run"


def find_checkpoint(
    output_dir: Path, requested: str | Path | bool | None, *, results: Sequence[str] = ()
) -> Path | None:
    """The checkpoint to continue from, verified; None where none is wanted.

    Args:
        output_dir: folder of the run.
        requested: a checkpoint's path, or True for the newest whole one of the run. Newer ones that are not whole are
            passed over, each with a warning that says why.
        results: names of files that a finished run leaves, without which a new one may start.

    Raises:
        CheckpointError: when there is none, or the one that is named is damaged or holds too little to continue from.
    """
    if requested is None or requested is False:
        return None
    if requested is not True:
        return _named(Path(requested))
    folder = RunFolder.read(output_dir, results)
    if folder.newest is None:
        raise CheckpointError(
            f"resume_from_checkpoint=True, but output_dir={output_dir} holds no finished checkpoint to continue from; "
            f"{folder.way_on}"
        )
    for checkpoint in folder.unfinished:
        logger.warning(f"{checkpoint} was not finished and is passed over")
    for reason in folder.unusable.values():
        logger.warning(f"{reason}; it is passed over")
    if folder.unfinished or folder.unusable:
        logger.warning(f"the run continues from {folder.newest}, the newest whole checkpoint")
    return folder.newest


def refuse_used_folder(output_dir: Path, results: Sequence[str] = ()) -> None:
    """Refuse to start a run where another one left checkpoints, which would be overwritten one by one, or results.

    Args:
        output_dir: folder of the new run.
        results: names of files that a finished run leaves.

    Raises:
        FileExistsError: naming what is there, and the way on.
    """
    folder = RunFolder.read(output_dir, results)
    checkpoints = [folder.newest] if folder.newest is not None else list(folder.unusable)
    held = [*folder.results, *(path.name for path in checkpoints)]
    if held:
        raise FileExistsError(f"output_dir={output_dir} holds another run ({', '.join(held[:3])}); {folder.way_on}")


def remove_unfinished(output_dir: Path) -> None:
    """Delete what a run left that was cut off while it wrote its first checkpoint; another is about to start there."""
    for checkpoint in checkpoint_folders(output_dir):
        if _is_unfinished(checkpoint):
            logger.warning(f"{checkpoint} was not finished; it is removed, and the run starts anew")
            remove_checkpoint(checkpoint)


def take_over(output_dir: Path, resume: Path | None, *, removes: bool) -> None:
    """Make sure that no other run's checkpoints are overwritten, and that none are left which are unfinished.

    Args:
        output_dir: folder of the run that is about to train.
        resume: the checkpoint that it continues from.
        removes: whether this process may delete what is unfinished.

    Raises:
        FileExistsError: see :func:`refuse_used_folder`.
    """
    if resume is not None and resume.resolve().parent == output_dir.resolve():
        return
    refuse_used_folder(output_dir)
    if removes:
        remove_unfinished(output_dir)


def why_not_continued(checkpoint: Path) -> str | None:
    """Why a run cannot be continued from a checkpoint, as part of a sentence; None where it can."""
    try:
        verify_checkpoint(checkpoint)
    except CheckpointError as error:
        return str(error)
    absent = [name for name in _NEEDED_TO_CONTINUE if not (checkpoint / name).is_file()]
    if absent:
        return f"checkpoint {checkpoint} has no {', '.join(absent)}: it was saved with save_only_model=True"
    if not any((checkpoint / name).is_file() for name in _WEIGHTS):
        return f"checkpoint {checkpoint} has no model.safetensors"
    return _what_is_wrong_with_its_state(checkpoint)


def _what_is_wrong_with_its_state(checkpoint: Path) -> str | None:
    unreadable = f"checkpoint {checkpoint} is damaged: {{}} is not what a run writes"
    try:
        state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return unreadable.format(STATE_FILE)
    steps = (state.global_step, state.max_steps, *([] if state.best_global_step is None else [state.best_global_step]))
    if not all(type(step) is int for step in steps) or not isinstance(state.log_history, list):
        return unreadable.format(STATE_FILE)
    try:
        settings = json.loads((checkpoint / RUN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return unreadable.format(RUN_FILE)
    return None if isinstance(settings, dict) else unreadable.format(RUN_FILE)


def _named(checkpoint: Path) -> Path:
    reason = why_not_continued(checkpoint)
    if reason is None:
        return checkpoint
    newest = RunFolder.read(checkpoint.absolute().parent).newest
    if newest is None:
        way_on = "there is no whole one beside it; start a new run in another output_dir"
    else:
        way_on = f"the newest whole one there is {newest}; continue with resume_from_checkpoint={newest}"
    raise CheckpointError(f"{reason}, and a run cannot be continued from it; {way_on}")


def _is_unfinished(checkpoint: Path) -> bool:
    """Whether this package began to write it and was cut off; what others wrote is theirs."""
    if (checkpoint / MANIFEST_FILE).exists():
        return False
    names = [path.name for path in checkpoint.iterdir()]
    return RUN_FILE in names or all(name.endswith(".partial") for name in names)
