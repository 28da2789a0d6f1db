"""``adsr demo [--output_dir DIR] [--workers N]``."""

import time
from pathlib import Path

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import OptionParser
from adsr_hf.settings.errors import UsageError

RESULTS_FILE = "results.json"


def run(words: list[str]) -> int:
    """Train the three arms over the seeds, print the table, and write the page."""
    parser = OptionParser(
        prog="adsr demo",
        description="Train a small vision transformer three ways on handwritten digits (clean, PGD adversarial "
        "training, ADSR), three seeds each, attack all of them, and show what each buys: a table, and a page with "
        "figures. Finished runs are kept, so that an interrupted demo continues.",
    )
    parser.add_argument(
        "--output_dir", type=Path, default=Path("demo-output"), help="folder for the page and the runs"
    )
    parser.add_argument("--workers", type=int, default=None, help="runs at a time (default: one for each core)")
    arguments = parser.parse_args(words)
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers={arguments.workers} must be at least 1")
    from adsr_hf.records.folder_lock import own_folder

    with own_folder(arguments.output_dir, "adsr demo"):
        show_demo(arguments.output_dir, arguments.workers)
    return OK


def show_demo(output_dir: Path, workers: int | None) -> None:
    """Run what is missing, then write table and page from the cells' records."""
    import torch
    from tqdm.auto import tqdm

    from adsr_hf.demo.cells import Cell, run_cells
    from adsr_hf.demo.page import demo_page
    from adsr_hf.demo.settings import ARMS, EPSILON, EVALUATION_STEPS, SEEDS
    from adsr_hf.demo.summary import as_document, differences, table
    from adsr_hf.records.files import write_bytes, write_json
    from adsr_hf.records.machine import describe_machine
    from adsr_hf.records.text_tables import as_text

    cells = [Cell(arm, seed, output_dir / "runs" / f"{arm}-seed{seed}") for arm in ARMS for seed in SEEDS]
    # The long runs first, so that no core idles at the end.
    cells.sort(key=lambda cell: cell.arm == "clean")
    workers = min(workers or torch.get_num_threads(), len(cells))
    print(
        f"{len(cells)} runs ({', '.join(ARMS)} with seeds {', '.join(map(str, SEEDS))}) of a small ViT on 8x8 digits, "
        f"{workers} at a time, then PGD-{EVALUATION_STEPS} at several radii; about "
        f"{round(len(cells) / workers * 30 / 60 + 0.3, 1)} min; to {output_dir}",
        flush=True,
    )
    finished = all(cell.result() for cell in cells) and (output_dir / RESULTS_FILE).is_file()
    started = time.perf_counter()
    results = []
    with tqdm(total=len(cells), unit="run") as progress:
        for cell, result in run_cells(cells, workers):
            results.append(result)
            progress.set_postfix_str(f"{cell.arm}, seed {cell.seed}")
            progress.update()
    seconds = _kept_seconds(output_dir) if finished else time.perf_counter() - started
    results.sort(key=lambda result: (ARMS.index(result["arm"]), result["seed"]))
    rows = table(results)
    print(f"\n500 test images, percent, mean ± standard deviation over {len(SEEDS)} seeds; robust: Linf {EPSILON}\n")
    print(as_text(rows))
    print("\nADSR against adversarial training:\n  " + "\n  ".join(differences(results, "adsr", "pgd_at")))
    write_bytes(output_dir / "index.html", demo_page(results, describe_machine(), seconds).encode())
    write_bytes(output_dir / "table.md", as_document(results, describe_machine(), seconds).encode())
    write_json(output_dir / RESULTS_FILE, {"machine": describe_machine(), "seconds": seconds, "cells": results})
    print(
        f"\nin words and figures: {output_dir / 'index.html'}   checkpoints: {output_dir / 'runs'}   {seconds:.0f} s"
    )


def _kept_seconds(output_dir: Path) -> float:
    """How long the runs took when they were made; a later look at them takes no time that says anything."""
    from adsr_hf.records.json_shapes import ShapeError, fields, number, read_object

    path = output_dir / RESULTS_FILE
    try:
        results = read_object(path, nan=True)
        fields({"seconds": number(0)})(results, "")
    except ShapeError as error:
        raise ValueError(f"{path} is damaged: {error}; remove it, and the same command writes it again") from error
    return float(results["seconds"])
