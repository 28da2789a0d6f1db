"""The demo's runs: one cell for each arm and seed, in as many processes as there are cores."""

import contextlib
import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adsr_hf.demo.settings import EVALUATED_EPSILONS, EVALUATION_STEPS, arm_settings
from adsr_hf.evaluation.records import SCHEMA_VERSION
from adsr_hf.records.files import write_json
from adsr_hf.records.json_shapes import (
    ShapeError,
    anything,
    fields,
    list_of,
    mapping_of,
    number,
    read_object,
    sha256,
    text,
    whole_number,
)

CELL_FILE = "cell.json"
_RESULT = fields(
    {
        "key": sha256,
        "arm": text,
        "seed": whole_number(0),
        "robust_overfitting": mapping_of(mapping_of(number())),
        "train_seconds": number(0),
        "log_history": list_of(mapping_of(anything)),
        "summary": mapping_of(anything),
    }
)


@dataclass(frozen=True)
class Cell:
    """One arm with one seed, and the folder of its run."""

    arm: str
    seed: int
    folder: Path

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe's fields with this cell's seed and folder."""
        return {**arm_settings(self.arm), "seed": self.seed, "output_dir": str(self.folder)}

    @property
    def key(self) -> str:
        """Hash of everything that decides the result, so that a finished cell is known by it."""
        content = {**self.settings, "output_dir": "", "evaluation": [EVALUATED_EPSILONS, EVALUATION_STEPS]}
        content |= {"records": SCHEMA_VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def result(self) -> dict[str, Any] | None:
        """The outcome if this very cell is finished.

        Raises:
            ValueError: when its file is damaged.
        """
        path = self.folder / CELL_FILE
        if not path.is_file():
            return None
        try:
            # A run that diverged has logged NaN.
            result = read_object(path, nan=True)
            _RESULT(result, "")
        except ShapeError as error:
            raise ValueError(f"{path} is damaged: {error}; remove {self.folder} to run it again") from error
        return {**result, "folder": str(self.folder)} if result["key"] == self.key else None


def run_cells(cells: list[Cell], workers: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Run the cells that are not finished and yield each as it ends; finished ones come first.

    Raises:
        RuntimeError: naming the cell that failed and its log.
    """
    waiting = []
    for cell in cells:
        result = cell.result()
        if result is None:
            waiting.append(cell)
        else:
            yield cell, result
    if not waiting:
        return
    threads = max(1, (torch.get_num_threads()) // workers)
    # Spawned, not forked: a forked process would inherit torch's thread pool in an unknown state.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_run_cell, cell, threads): cell for cell in waiting}
        try:
            for future in as_completed(futures):
                cell = futures[future]
                error = future.exception()
                if error is not None:
                    raise RuntimeError(
                        f"{cell.arm} with seed {cell.seed} failed: {error}; see {_log(cell)}"
                    ) from error
                yield cell, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _log(cell: Cell) -> Path:
    return cell.folder / "log.txt"


def _run_cell(cell: Cell, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    former = cell.folder.with_name(f"{cell.folder.name}.former")
    if cell.folder.exists():
        _move_away(cell.folder, former)
    cell.folder.mkdir(parents=True)
    with (
        open(_log(cell), "w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        result = _train_and_measure(cell)
    if former.exists():
        shutil.rmtree(former)
    return result


def _move_away(folder: Path, former: Path) -> None:
    """Make room for a cell: one that was finished with other settings is kept until the new one is too.

    Only folders that a cell made are touched.
    """
    if not (folder / "log.txt").is_file():
        raise FileExistsError(f"{folder} is not a folder of the demo; choose another --output_dir")
    if (folder / CELL_FILE).is_file() and not former.exists():
        folder.rename(former)
    else:
        shutil.rmtree(folder)


def _train_and_measure(cell: Cell) -> dict[str, Any]:
    from adsr_hf.attacks import ThreatModel
    from adsr_hf.evaluation.plan import Plan
    from adsr_hf.evaluation.provenance import Subject
    from adsr_hf.evaluation.suite import evaluate
    from adsr_hf.runs.recipe import recipe_from_settings
    from adsr_hf.runs.train import train_recipe

    recipe = recipe_from_settings({**cell.settings, "disable_tqdm": True})
    run = train_recipe(recipe.config, recipe.data, recipe.model)
    assert run.data.test is not None
    threats = [ThreatModel(recipe.config.norm, epsilon) for epsilon in EVALUATED_EPSILONS]
    records = evaluate(
        run.trainer.model,
        run.data.test,
        Plan(threats, num_steps=EVALUATION_STEPS, batch_size=256),
        pixel_space=run.trainer.pixel_space,
        subject=Subject(
            str(cell.folder), weights="student", data_source=recipe.data.dataset, class_names=run.data.class_names
        ),
        validation=run.data.validation,
        folder=cell.folder / "evaluation",
        show_progress=False,
    )
    result = {
        "key": cell.key,
        "arm": cell.arm,
        "seed": cell.seed,
        "robust_overfitting": run.record["robust_overfitting"],
        "train_seconds": run.record["training"]["train_runtime"],
        "log_history": run.record["log_history"],
        "summary": records.summary,
    }
    write_json(cell.folder / CELL_FILE, result)
    return {**result, "folder": str(cell.folder)}
