"""``adsr demo [--output_dir DIR] [--workers N]``: a study that comes with the package, and its report."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import OptionParser
from adsr_hf.settings.errors import UsageError

if TYPE_CHECKING:
    from adsr_hf.study.description import Study

PACKAGE, PAGE = "adsr_hf.study", "index.html"


def run(words: list[str]) -> int:
    """Train the three arms over the seeds, print the table, and write the page; 1 where a run failed."""
    parser = OptionParser(
        prog="adsr demo",
        description="Train a small vision transformer three ways on handwritten digits (clean, PGD adversarial "
        "training, ADSR), three seeds each, attack all of them, and show what each buys: a table, and a page with "
        "figures. Finished runs are kept, so that an interrupted demo continues. It is an ordinary study: adsr study "
        "runs your own.",
    )
    parser.add_argument(
        "--output_dir", type=Path, default=Path("demo-output"), help="folder for the page and the runs"
    )
    parser.add_argument("--workers", type=int, default=None, help="runs at a time (default: one for each core)")
    arguments = parser.parse_args(words)
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers={arguments.workers} must be at least 1")
    if "," in str(arguments.output_dir):
        raise UsageError(
            f"--output_dir={arguments.output_dir} has a comma, which joins the runs of a report; choose another name"
        )
    from importlib.resources import as_file, files

    from adsr_hf.cli.study import run_study
    from adsr_hf.report.drawing import check_drawable
    from adsr_hf.report.page import write_report
    from adsr_hf.study.description import read_study

    check_drawable()
    with as_file(files(PACKAGE) / "demo") as folder:
        workers = arguments.workers or os.cpu_count() or 1
        study = read_study(
            folder / "study.yaml", output_dir=arguments.output_dir, parallel=workers, command=parser.prog
        )
        status = run_study(study)
    if status == OK:
        page = write_report(_runs(study), arguments.output_dir / PAGE, title=study.title)
        print(f"in words and figures: {page}   checkpoints: {arguments.output_dir}")
    return status


def _runs(study: "Study") -> list[str]:
    """What the page is about: each arm with all its seeds, ADSR's first, and the study's own table."""
    arms = [[str(cell.folder) for cell in study.cells if cell.arm == arm] for arm in reversed(study.arms)]
    return [*(",".join(folders) for folders in arms), str(study.output_dir)]
