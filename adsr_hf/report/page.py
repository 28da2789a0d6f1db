"""The page of ``adsr report``: one file, nothing to fetch."""

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from adsr_hf._version import __version__
from adsr_hf.files import write_bytes
from adsr_hf.report.drawing import NAMES
from adsr_hf.report.markup import Html, element, joined
from adsr_hf.report.sections.calibration import calibration
from adsr_hf.report.sections.comparison import comparison
from adsr_hf.report.sections.costs import costs
from adsr_hf.report.sections.gallery import gallery
from adsr_hf.report.sections.overview import overview
from adsr_hf.report.sections.reproduction import reproduction
from adsr_hf.report.sections.robustness import attack_curves, figures_table, noise_curves
from adsr_hf.report.sections.sanity import sanity
from adsr_hf.report.sections.trained import trained
from adsr_hf.report.sections.training import training
from adsr_hf.report.sections.trust import trust
from adsr_hf.report.style import STYLE
from adsr_hf.report.subjects import Subject, read_subject
from adsr_hf.report.texts import Texts

_SECTIONS = (
    overview,
    trained,
    comparison,
    attack_curves,
    noise_curves,
    calibration,
    training,
    gallery,
    sanity,
    figures_table,
    costs,
    reproduction,
    trust,
)


def write_report(runs: Sequence[str], output: Path, *, language: str = "en", title: str | None = None) -> Path:
    """Read the records of some runs and write the page, whole or not at all.

    Args:
        runs: run folders or evaluation folders; several seeds of one arm are joined by commas. Of two, the first is
            the candidate and the second the current model.
        output: an HTML file.
        language: one of :data:`adsr_hf.report.texts.LANGUAGES`.
        title: of the page; left out, made from the names of the runs.

    Returns:
        ``output``.

    Raises:
        ValueError: for an unknown language, or no run or too many.
        RecordsError: where a folder holds no records, or damaged ones.
        IsADirectoryError: when ``output`` is a folder.
        ImportError: where matplotlib is not installed.
    """
    if output.is_dir():
        raise IsADirectoryError(f"output={output} is a folder; name a file in it, such as {output / 'report.html'}")
    subject = read_subject(runs, Texts(language))
    write_bytes(output, report_page(subject, title=title).encode())
    return output


def report_page(subject: Subject, *, title: str | None = None) -> str:
    """HTML text of the whole page."""
    texts = subject.texts
    names = [arm.name for arm in subject.arms]
    title = title or texts("page.title", names=texts("page.against").join(names))
    made = texts("page.made", version=__version__, date=datetime.now(UTC).date().isoformat())
    body = [element("header", element("h1", title), element("p", made, css="muted"))]
    body += [_with_own_names(section(subject), number) for number, section in enumerate(_SECTIONS)]
    head = joined(
        [
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    return (
        f'<!doctype html>\n<html lang="{escape(texts.language)}"><head>{head}</head>'
        f"<body>{element('main', *body)}</body></html>\n"
    )


def _with_own_names(section: Html, number: int) -> Html:
    """The section, its drawings numbered: two that are equal would otherwise share the names of their parts."""
    count = itertools.count()

    def renamed(drawing: re.Match[str]) -> str:
        prefix = f"s{number}d{next(count)}-"
        return re.sub(rf'(id="|url\(#|href="#){NAMES}-', rf"\g<1>{prefix}", drawing[0])

    return Html(re.sub(r"<svg .*?</svg>", renamed, section, flags=re.DOTALL))
