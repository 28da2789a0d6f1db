"""A page as a reader meets it: visible text, tables, pictures; and made-up runs to write pages about."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adsr_hf.evaluation.verdicts import CHECKS
from adsr_hf.report.page import report_page
from adsr_hf.report.report_data import read_report_data
from adsr_hf.report.texts import Texts
from tests.evaluation.fake_records import write_fake_run

VOID = ("meta", "br", "img", "path", "use", "link")


class Reader(HTMLParser):
    """Collects visible text, table cells, alternative texts, tags, identifiers and what would be fetched."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.pieces: list[str] = []
        self.prose: list[str] = []
        self.rows: list[list[str]] = []
        self.told: list[str] = []
        self.fetched: list[str] = []
        self.names: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.told += [given[key] or "" for key in ("alt", "aria-label") if key in given]
        self.fetched += [given[key] or "" for key in ("src", "href", "xlink:href", "data") if key in given]
        if given.get("id"):
            self.names.append(given["id"] or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.pieces.append(data)
        if "pre" not in self.open and "code" not in self.open:
            self.prose.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def row(self, heading: str) -> list[str]:
        """The cells of the first row that is headed so, without its heading."""
        return next(cells[1:] for cells in self.rows if cells and cells[0].replace("\u00a0", " ") == heading)


def page_of(*runs: str | Path, language: str = "en", title: str | None = None) -> str:
    return report_page(read_report_data([str(run) for run in runs], Texts(language)), title=title)


def write_run(folder: Path, *, examples: int = 2, size: int = 8, **settings: Any) -> Path:
    """A made-up run with sanity verdicts of the real names, and examples: noise, and that noise a little changed."""
    settings.setdefault("sanity", dict.fromkeys(CHECKS, "pass"))
    run = write_fake_run(folder, **settings)
    evaluation = run / "evaluation"
    names = json.loads((evaluation / "summary.json").read_text())["model"]["class_names"]
    random = np.random.default_rng(0)
    entries = []
    (evaluation / "examples").mkdir()
    for index in range(examples):
        clean = random.integers(10, 245, (size, size, 3), dtype=np.uint8)
        pictures = {"clean": clean, "adversarial": clean + random.integers(0, 9, clean.shape, dtype=np.uint8)}
        paths = {kind: f"examples/{index:05d}-{kind}.png" for kind in pictures}
        for kind, pixels in pictures.items():
            Image.fromarray(pixels).save(evaluation / paths[kind])
        entries.append(
            {
                "index": index,
                "label": index % len(names),
                "clean_prediction": index % len(names),
                "adversarial_prediction": (index + 1) % len(names),
                "threat": "Linf 4/255",
                **paths,
            }
        )
    change_summary(run, examples=entries)
    change_run(
        run,
        log_history=[
            {"temperature": 2.0, "interpolation": 0.7, "mean_lambda": 0.5, **entry} if "loss" in entry else entry
            for entry in json.loads((run / "run.json").read_text())["log_history"]
        ],
    )
    return run


def change_summary(run: Path, **changes: Any) -> dict[str, Any]:
    return _change(run / "evaluation" / "summary.json", changes)


def change_run(run: Path, **changes: Any) -> dict[str, Any]:
    return _change(run / "run.json", changes)


def _change(path: Path, changes: dict[str, Any]) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")
    return content
