"""``adsr report RUN... -o report.html``."""

from pathlib import Path

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import OptionParser
from adsr_hf.report.texts import LANGUAGES


def run(words: list[str]) -> int:
    """Write one self-contained page about one or several measured models."""
    parser = OptionParser(
        prog="adsr report",
        description="One self-contained HTML page about measured models, for a manager and an engineer: what was "
        "trained against what threat, the A/B test, curves, calibration, examples, sanity verdicts, costs, and how to "
        "reproduce it all. It is read from the records alone and needs no network to be looked at.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a folder that `adsr evaluate` or `adsr train` wrote; several seeds of one arm are joined by commas. Of "
        "two RUNs the first is the candidate and the second the current model. The folder or study.json of an "
        "`adsr study` shows its tables, alone or after the RUNs",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="file (default report.html)")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="of the page's text (default en)")
    parser.add_argument("--title", default=None, help="of the page (default: the names of the runs)")
    arguments = parser.parse_args(words)
    from adsr_hf.report.page import write_report

    path = write_report(arguments.runs, arguments.output, language=arguments.language, title=arguments.title)
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB, self-contained)")
    return OK
