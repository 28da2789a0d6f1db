"""The page in a real browser: no console errors, nothing sideways, every figure to be seen, light and dark."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.report.reading import page_of, write_run

WIDTHS = (360, 1280)

# What the copies of the page report to the page that frames them.
MEASURE = """<script>addEventListener("load", () => {
  const box = one => { const b = one.getBoundingClientRect(); return [b.left, b.right, b.width, b.height]; };
  const root = document.documentElement, body = getComputedStyle(document.body);
  const texts = [...document.querySelectorAll("figure svg text")];
  parent.postMessage(JSON.stringify({
    title: document.title, width: innerWidth, scrolled: root.scrollWidth,
    drawings: [...document.querySelectorAll("figure svg")].map(box),
    pictures: [...document.querySelectorAll("img")].map(one => [...box(one), one.naturalWidth]),
    blocks: [...document.querySelectorAll("h1, h2, h3, p, li, figure, .scroll, pre, .tile, .card")].map(box),
    letters: Math.min(...texts.map(one => one.getBoundingClientRect().height)),
    ink: body.color, ground: body.backgroundColor, inks: [...new Set(texts.map(one => getComputedStyle(one).fill))],
  }), "*");
});</script>"""
FRAME = """<!doctype html><meta charset="utf-8"><pre id="found"></pre><script>
addEventListener("message", event => { found.textContent += event.data + "\\n"; });</script>"""


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium is installed")


def opened(page: Path, *options: str) -> tuple[str, list[str]]:
    """The page as the browser has it after loading, and what it wrote to the console."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += ["--virtual-time-budget=5000", f"--user-data-dir={page.parent / 'profile'}", "--window-size=1400,900"]
    done = subprocess.run([*command, *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measured(pages: dict[str, str], folder: Path, *options: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Measurements of every page at every width, and the console."""
    frame = FRAME
    for name, text in pages.items():
        (folder / name).write_text(text.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
        for width in WIDTHS:
            frame += f'<iframe src="{name}" style="width:{width}px;height:800px;border:0"></iframe>'
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    dom, console = opened(folder / "frame.html", *options)
    match = re.search(r'<pre id="found">(.*?)</pre>', dom, flags=re.DOTALL)
    assert match is not None
    lines = match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").split("\n")
    return [json.loads(line) for line in lines if line], console


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two arms in both languages, with a name that is too long for a telephone."""
    browser()
    folder = tmp_path_factory.mktemp("runs")
    names = ["candidate_with_a_name_as_long_as_the_folders_of_a_sweep_over_many_settings", "current"]
    runs = [write_run(folder / name, train_seed=seed) for seed, name in enumerate(names)]
    return {f"{language}.html": page_of(*runs, language=language) for language in ("en", "ja")}


@pytest.fixture(scope="module")
def light(pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[str]]:
    return measured(pages, tmp_path_factory.mktemp("light"))


@pytest.fixture(scope="module")
def dark(pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[str]]:
    return measured(pages, tmp_path_factory.mktemp("dark"), "--blink-settings=preferredColorScheme=0")


def test_the_console_stays_empty(light: tuple[list[dict[str, Any]], list[str]], tmp_path: Path) -> None:
    assert light[1] == []
    # An error would have been seen.
    (tmp_path / "broken.html").write_text("<script>throw new Error('seen')</script>")
    assert "seen" in opened(tmp_path / "broken.html")[1][0]


def test_every_page_was_measured_at_every_width(light: tuple[list[dict[str, Any]], list[str]]) -> None:
    assert sorted(one["width"] for one in light[0]) == sorted(WIDTHS * 2)
    assert len({one["title"] for one in light[0]}) == 2


def test_the_page_never_scrolls_sideways(light: tuple[list[dict[str, Any]], list[str]]) -> None:
    for one in light[0]:
        assert one["scrolled"] <= one["width"], one["title"]
        assert min(left for left, *_ in one["blocks"]) >= 0
        assert max(right for _, right, *_ in one["blocks"]) <= one["width"]


def test_every_figure_is_visible_and_its_letters_can_be_read(light: tuple[list[dict[str, Any]], list[str]]) -> None:
    for one in light[0]:
        assert len(one["drawings"]) >= 12
        assert len(one["pictures"]) == 12
        for left, right, width, height in one["drawings"]:
            assert left >= 0
            assert right <= one["width"]
            assert width >= 200
            assert height >= 90
        for *_, width, height, natural in one["pictures"]:
            assert min(width, height) >= 60
            assert natural == 8
        assert one["letters"] >= 9


def contrast(first: str, second: str) -> float:
    """WCAG's ratio of two CSS colours."""
    shades = []
    for color in (first, second):
        values = [int(one) / 255 for one in re.findall(r"\d+", color)[:3]]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in values]
        shades.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(shades) + 0.05) / (min(shades) + 0.05)


def test_figures_follow_the_page_into_the_dark(
    light: tuple[list[dict[str, Any]], list[str]], dark: tuple[list[dict[str, Any]], list[str]]
) -> None:
    assert dark[1] == []
    for found in (light[0], dark[0]):
        for one in found:
            assert one["inks"] == [one["ink"]]
            assert contrast(one["ink"], one["ground"]) >= 7
    assert contrast(light[0][0]["ground"], dark[0][0]["ground"]) >= 10
