"""What is done in one cell: train, or go on training, then measure."""

import gc
import shutil
import time
import traceback
from functools import partial
from pathlib import Path

import torch

from adsr_hf.data import DataArguments
from adsr_hf.evaluation.checkpoint import evaluate_checkpoint, recorded_data
from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.records.folder_lock import LOCK_FILE, OWNER_FILE, own_folder
from adsr_hf.records.machine import process_state
from adsr_hf.runs.recipe import Recipe, recipe_from_settings
from adsr_hf.runs.train import train_recipe
from adsr_hf.settings.flags import parse_flags
from adsr_hf.study.arguments import StudyEvaluation
from adsr_hf.study.cells import CELL_FILE, LOG_FILE, Cell, finish, mark_trained, read_state
from adsr_hf.study.live import PROGRESS_FILE, tell_measuring, tell_training
from adsr_hf.training.run_folder import find_checkpoint


def run_cell(folder: Path, *, threads: int | None) -> bool:
    """Do what is left of the cell that ``folder`` holds, and write down how it ended; errors become its outcome.

    Args:
        folder: begun with :func:`adsr_hf.study.cells.begin`.
        threads: CPU threads to compute with; None leaves them as they are.

    Returns:
        whether it finished without an error.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with a checkpoint where training had begun.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    cell = Cell.read(folder)
    started = time.perf_counter()
    error = None
    try:
        # Before the folder is touched: a recipe that is refused leaves it as it is.
        _recipe(cell)
        with own_folder(folder, "adsr study", process_state()):
            if not read_state(folder)["trained"]:
                _train(cell)
            _measure(cell)
    except Exception as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    if process_state().is_main_process:
        (folder / PROGRESS_FILE).unlink(missing_ok=True)
        finish(cell, error=error, seconds=time.perf_counter() - started)
    return error is None


def _train(cell: Cell) -> None:
    if _has_checkpoint(cell):
        try:
            _train_once(cell, resume_from_checkpoint="true")
            return
        except CheckpointError as error:
            print(f"its checkpoints cannot be continued, so training starts anew: {error}", flush=True)
    if process_state().is_main_process:
        _clear(cell.folder)
    _train_once(cell)


def _train_once(cell: Cell, **settings: str) -> None:
    recipe = _recipe(cell, **settings)
    process_state().wait_for_everyone()
    train_recipe(recipe.config, recipe.data, recipe.model, report=partial(tell_training, cell.folder))
    # Trainer and its callbacks refer to each other; the next cell needs the memory.
    gc.collect()
    if process_state().is_main_process:
        mark_trained(cell.folder)


def _recipe(cell: Cell, **settings: str) -> Recipe:
    defaults = {"output_dir": str(cell.folder)} | settings
    return recipe_from_settings({"disable_tqdm": True} | dict(cell.settings) | defaults)


def _has_checkpoint(cell: Cell) -> bool:
    if not checkpoint_folders(cell.folder):
        return False
    try:
        return find_checkpoint(cell.folder, True) is not None
    except CheckpointError as error:
        print(f"nothing to go on from, so training starts anew: {error}", flush=True)
        return False


def _clear(folder: Path) -> None:
    """Remove what an attempt left that cannot be continued."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (CELL_FILE, LOG_FILE, LOCK_FILE, OWNER_FILE):
            path.unlink()


def _measure(cell: Cell) -> None:
    (arguments,) = parse_flags((StudyEvaluation,), cell.evaluation, [], where="the study's evaluation")
    defaults = {} if arguments.max_eval_images is None else {"max_eval_images": arguments.max_eval_images}
    (data,) = parse_flags(
        (DataArguments,), recorded_data(str(cell.folder)) | defaults, [], where=f"{cell.folder}/run.json"
    )
    for weights in cell.weights:
        if process_state().is_main_process:
            tell_measuring(cell.folder, weights)
        evaluate_checkpoint(str(cell.folder), data, arguments, weights=weights, announce=_say, show_progress=False)


def _say(line: str) -> None:
    print(line, flush=True)
