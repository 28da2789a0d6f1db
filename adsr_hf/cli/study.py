"""``adsr study STUDY.yaml``."""

from pathlib import Path
from typing import TYPE_CHECKING

from adsr_hf.cli.help_text import describe_fields
from adsr_hf.cli.main import FAILURE, OK
from adsr_hf.cli.options import OptionParser, yes_or_no
from adsr_hf.settings.errors import UsageError
from adsr_hf.study.arguments import KEYS, StudyEvaluation

if TYPE_CHECKING:
    from adsr_hf.study.description import Study

TABLE_MARKDOWN, TABLE_CSV = "table.md", "table.csv"


def run(words: list[str]) -> int:
    """Run every cell that is not finished, then write the table; 1 where a cell failed."""
    if not words or words[0] in ("-h", "--help") or "--help" in words:
        print(_help())
        return OK
    parser = OptionParser(prog="adsr study")
    parser.add_argument("study", type=Path)
    parser.add_argument("--output_dir", type=Path, default=None)
    parser.add_argument("--parallel", type=int, default=None)
    parser.add_argument("--only_table", type=yes_or_no, default=False)
    arguments = parser.parse_args(words)
    if arguments.parallel is not None and arguments.parallel < 1:
        raise UsageError(f"--parallel={arguments.parallel} must be at least 1")
    from adsr_hf.study.description import read_study

    study = read_study(arguments.study, output_dir=arguments.output_dir, parallel=arguments.parallel)
    return run_study(study, only_table=arguments.only_table)


def run_study(study: "Study", *, only_table: bool = False) -> int:
    """Run a study's cells, and write its table; the exit status, 1 where a cell failed.

    Args:
        only_table: run nothing, and write the table of what is finished.

    Raises:
        UsageError: for a folder that holds other cells.
    """
    from adsr_hf.records.folder_lock import own_folder
    from adsr_hf.study.runner import refuse_other_cells

    refuse_other_cells(study.cells)
    if only_table:
        return _write_tables(study)
    with own_folder(study.output_dir, "adsr study"):
        _run_cells(study)
        return _write_tables(study)


def _run_cells(study: "Study") -> None:
    import torch
    from tqdm.auto import tqdm

    from adsr_hf.records.durations import duration_in_words
    from adsr_hf.study.cells import end_of, is_finished
    from adsr_hf.study.live import LiveCells
    from adsr_hf.study.progress import first_line, remaining_seconds
    from adsr_hf.study.runner import run_cells

    threads = study.threads
    if threads is None and study.launch is None:
        threads = max(1, torch.get_num_threads() // study.parallel)
    print("\n  ".join([first_line(study, threads), *study.notes]), flush=True)
    waiting = [cell for cell in study.cells if not is_finished(cell)]
    left = list(waiting)
    with (
        tqdm(total=len(study.cells), initial=len(study.cells) - len(waiting), unit="cell") as progress,
        LiveCells(waiting, min(study.parallel, len(waiting)), progress) as live,
    ):
        for cell in run_cells(waiting, parallel=study.parallel, threads=threads, launch=study.launch):
            live.ended(cell)
            outcome = end_of(cell)
            if outcome is not None and outcome.error is not None:
                progress.write(f"{cell.name} failed: {outcome.error}")
            left.remove(cell)
            seconds = remaining_seconds(study.cells, left, study.parallel)
            progress.set_postfix_str(f"{duration_in_words(seconds)} left" if seconds else "", refresh=False)
            progress.update()


def _write_tables(study: "Study") -> int:
    from adsr_hf.records.files import write_bytes, write_json
    from adsr_hf.study.results import RECORD_FILE, study_record
    from adsr_hf.study.tables import as_csv, as_document, as_terminal

    record = study_record(study)
    folder = study.output_dir
    write_json(folder / RECORD_FILE, record)
    write_bytes(folder / TABLE_MARKDOWN, as_document(record).encode())
    write_bytes(folder / TABLE_CSV, as_csv(record).encode())
    print(f"\n{as_terminal(record)}\n")
    print(f"table: {folder / TABLE_MARKDOWN}, {folder / TABLE_CSV}   every figure: {folder / RECORD_FILE}")
    failed = sum(cell["error"] is not None for cell in record["unfinished"])
    if failed:
        print(f"{failed} of {len(study.cells)} cells failed; the same command tries them again")
    return FAILURE if failed else OK


def _help() -> str:
    lines = [
        "usage: adsr study STUDY.yaml [--output_dir DIR] [--parallel N] [--only_table true]",
        "",
        "A grid of arms and seeds, each cell an ordinary run of adsr train and adsr evaluate, told in one table: mean",
        "and spread over seeds, paired tests against a baseline, Holm-corrected. All is checked before anything",
        "starts. Finished cells are kept; a study that was stopped, or a cell that failed, goes on with the same",
        "command. --only_table true runs nothing and writes the table of what is finished, also while cells run.",
        "",
        "A study file maps these names to values:",
        *(line for key, text in KEYS.items() for line in (f"  {key}", f"      {text}")),
    ]
    return "\n".join(lines + describe_fields({"evaluation": StudyEvaluation}))
