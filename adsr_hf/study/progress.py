"""How much of a study is done, and how long the rest will take."""

from collections.abc import Collection, Iterable, Sequence
from statistics import fmean

from adsr_hf.records.durations import duration_in_words
from adsr_hf.study.cells import Cell, end_of, is_finished
from adsr_hf.study.description import Study


def remaining_seconds(cells: Iterable[Cell], waiting: Collection[Cell], parallel: int) -> float | None:
    """Wall time that the waiting cells will take; None while no whole cell has been timed.

    A cell is expected to take as long as finished cells of its arm and variant, else of its variant, else as any.

    Args:
        cells: of the whole study.
        waiting: those that are still to be run.
        parallel: how many run at a time.
    """
    outcomes = [(cell, end_of(cell)) for cell in cells]
    timed = [
        (cell, outcome.seconds)
        for cell, outcome in outcomes
        if outcome is not None and outcome.error is None and not outcome.continued
    ]
    if not timed:
        return None
    return sum(_expected(cell, timed) for cell in waiting) / max(1, min(parallel, len(waiting)))


def _expected(cell: Cell, timed: Sequence[tuple[Cell, float]]) -> float:
    same_arm = [seconds for other, seconds in timed if (other.variant, other.arm) == (cell.variant, cell.arm)]
    same_variant = [seconds for other, seconds in timed if other.variant == cell.variant]
    return fmean(same_arm or same_variant or [seconds for _, seconds in timed])


def first_line(study: Study, threads: int | None) -> str:
    """What there is to do, how much of it is done, and about how long the rest takes."""
    grid = [_counted(study.arms, "arm"), _counted(study.seeds, "seed")]
    if study.variants != ("",):
        grid.insert(0, _counted(study.variants, "variant"))
    waiting = [cell for cell in study.cells if not is_finished(cell)]
    finished = len(study.cells) - len(waiting)
    line = f"{study.title}: {len(study.cells)} cells ({' × '.join(grid)}), {finished} finished"
    if waiting:
        seconds = remaining_seconds(study.cells, waiting, study.parallel)
        of_each = "" if threads is None else f", {threads} thread(s) each"
        how = f"{study.parallel} at a time{of_each}" + (
            " through accelerate launch" if study.launch is not None else ""
        )
        line += f"; {how}; " + ("how long is known after the first" if seconds is None else duration_in_words(seconds))
    return f"{line}; to {study.output_dir}"


def _counted(names: Collection[object], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"
