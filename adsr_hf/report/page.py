"""The page of ``adsr report``: one file, nothing to fetch."""

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from adsr_hf._version import __version__
from adsr_hf.records.files import write_bytes
from adsr_hf.report.drawing import NAMES
from adsr_hf.report.markup import Html, element, joined
from adsr_hf.report.report_data import ReportData, read_report_data
from adsr_hf.report.sections.calibration import calibration
from adsr_hf.report.sections.classes import classes
from adsr_hf.report.sections.comparison import comparison
from adsr_hf.report.sections.costs import costs
from adsr_hf.report.sections.gallery import gallery
from adsr_hf.report.sections.overview import overview
from adsr_hf.report.sections.reproduction import reproduction
from adsr_hf.report.sections.robustness import attack_curves, figures_table, noise_curves
from adsr_hf.report.sections.sanity import sanity
from adsr_hf.report.sections.study import study
from adsr_hf.report.sections.trained import trained
from adsr_hf.report.sections.training import training
from adsr_hf.report.sections.trust import trust
from adsr_hf.report.studies import is_study, read_study_record
from adsr_hf.report.style import STYLE
from adsr_hf.report.texts import Texts

_SECTIONS = (
    overview,
    trained,
    comparison,
    classes,
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
            the candidate and the second the current model. A study's folder or study.json adds its tables.
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
    texts = Texts(language)
    studies = [read_study_record(run) for run in runs if is_study(run)]
    others = [run for run in runs if not is_study(run)]
    if studies and not others:
        page = study_page(studies, texts, title=title)
    else:
        page = report_page(read_report_data(others, texts), studies=studies, title=title)
    write_bytes(output, page.encode())
    return output


def report_page(data: ReportData, *, studies: Sequence[dict[str, Any]] = (), title: str | None = None) -> str:
    """HTML text of the whole page.

    Args:
        studies: what their study.json hold; their tables come last.
    """
    names = data.texts("page.against").join(arm.name for arm in data.arms)
    sections = [section(data) for section in _SECTIONS]
    return _page(
        [*sections, *(study(record, data.texts) for record in studies)],
        data.texts,
        title or data.texts("page.title", names=names),
    )


def study_page(studies: Sequence[dict[str, Any]], texts: Texts, *, title: str | None = None) -> str:
    """HTML text of a page about studies alone."""
    names = texts("list.comma").join(record["title"] for record in studies)
    sections = [study(record, texts) for record in studies]
    return _page(sections, texts, title or texts("page.title", names=names))


def _page(sections: Sequence[Html], texts: Texts, title: str) -> str:
    made = texts("page.made", version=__version__, date=datetime.now(UTC).date().isoformat())
    body = [element("header", element("h1", title), element("p", made, css="muted"))]
    body += [_with_own_names(section, number) for number, section in enumerate(sections)]
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
