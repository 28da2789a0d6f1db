"""The best checkpoint of a run: found again, refused where it is damaged, kept beside the others where it is."""

from pathlib import Path

from transformers import TrainerState
from transformers.utils import logging

from adsr_hf.config import ADSRConfig
from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders, steps_of
from adsr_hf.training.checkpoints import remove_checkpoint, verify_checkpoint
from adsr_hf.training.run_folder import STATE_FILE, RunFolder, why_not_continued

logger = logging.get_logger(__name__)


def find_best_checkpoint(checkpoint: Path, state: TrainerState, args: ADSRConfig) -> None:
    """Look for the best checkpoint of a run beside the one that it is continued from, and put it into ``state``.

    Trainer remembers it by its path, which is another one once a run's folder was moved.

    Raises:
        CheckpointError: when it is damaged or gone, and would be loaded in the end.
    """
    saved = TrainerState.load_from_json(str(checkpoint / STATE_FILE)).best_model_checkpoint
    name = Path(saved).name if isinstance(saved, str) else ""
    best = checkpoint.parent / name if steps_of(name) is not None else None
    state.best_model_checkpoint = str(best) if best is not None and best.is_dir() else None
    if args.load_best_model_at_end and best is not None:
        refuse_damaged_best(best, state, args)


def refuse_damaged_best(best: Path, state: TrainerState, args: ADSRConfig) -> None:
    """Raise CheckpointError where the best checkpoint cannot be loaded, with the ways on that there are."""
    try:
        verify_checkpoint(best)
    except CheckpointError as error:
        newest, earlier = RunFolder.read(best.parent).newest, _newest_before(best)
        again = f"; or train it again from {earlier.name}: resume_from_checkpoint={earlier}" if earlier else ""
        last = f"resume_from_checkpoint={newest} and " if newest else ""
        raise CheckpointError(
            f"load_best_model_at_end=True, but the best checkpoint ({args.metric_for_best_model} {state.best_metric}) "
            f"cannot be loaded: {error}. Nothing was published. To end with the last weights, give {last}"
            f"load_best_model_at_end=False{again}"
        ) from error


def warn_of_an_unsaved_best(state: TrainerState, args: ADSRConfig) -> None:
    """Say which weights a run ends with where the best evaluation came at a step that was not saved."""
    if not args.load_best_model_at_end:
        return
    best, loaded = state.best_global_step, state.best_model_checkpoint
    if loaded is not None and Path(loaded).name == f"checkpoint-{best}":
        return
    what = f"{loaded} is loaded instead" if loaded is not None else "the last weights are kept"
    why = f"the best evaluation was at step {best}, where nothing was saved" if best else "nothing was evaluated"
    logger.warning(f"load_best_model_at_end=True, but {why}: {what}. Evaluate and save at the same steps")


def remove_all_but_best(state: TrainerState, args: ADSRConfig) -> None:
    """With a limit of one checkpoint, leave the best alone; where it is damaged, the others stay with a warning."""
    if not args.should_save or args.save_total_limit != 1 or state.best_model_checkpoint is None:
        return
    best = Path(state.best_model_checkpoint)
    try:
        verify_checkpoint(best)
    except CheckpointError as error:
        logger.warning(f"{error}; it is the best one, so that the others are kept beside it")
        return
    for folder in checkpoint_folders(best.parent):
        if folder.name != best.name:
            remove_checkpoint(folder)


def _newest_before(checkpoint: Path) -> Path | None:
    """The newest whole checkpoint with fewer steps."""
    step = steps_of(checkpoint.name) or 0
    for folder in reversed(checkpoint_folders(checkpoint.parent)):
        if (steps_of(folder.name) or 0) < step and why_not_continued(folder) is None:
            return folder
    return None
