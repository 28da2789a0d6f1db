"""Images that an attack turned: as they were, what was added (ten times enlarged), and what the model saw."""

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adsr_hf.report.markup import Html, element, grid
from adsr_hf.report.report_data import ReportData, ShownArm, evaluation_folder
from adsr_hf.report.wording import missing
from adsr_hf.settings.errors import RecordsError

MOST_SHOWN = 6
ENLARGED = 10


def gallery(data: ReportData) -> Html:
    """A few triples of each arm's first run."""
    texts = data.texts
    parts = [element("h2", texts("gallery.title")), element("p", texts("gallery.intro", times=ENLARGED))]
    for arm in data.arms:
        if len(data.arms) > 1:
            parts.append(element("h3", arm.names[0]))
        examples = arm.summary.get("examples") or []
        if not examples:
            parts.append(missing(texts("gallery.missing", name=arm.names[0])))
            continue
        shown = examples[:MOST_SHOWN]
        parts.append(grid(_card(example, arm, data) for example in shown))
        if len(examples) > len(shown):
            parts.append(element("p", texts("gallery.more", shown=len(shown), kept=len(examples)), css="note"))
    return element("section", *parts)


def enlarged_difference(clean: np.ndarray, adversarial: np.ndarray) -> np.ndarray:
    """The perturbation ten times enlarged around mid-grey, (H, W[, C]), uint8; both arguments likewise."""
    difference = adversarial.astype(np.int64) - clean.astype(np.int64)
    enlarged: np.ndarray = np.clip(128 + ENLARGED * difference, 0, 255).astype(np.uint8)
    return enlarged


def _card(example: dict[str, Any], arm: ShownArm, data: ReportData) -> Html:
    texts, names = data.texts, arm.summary["model"]["class_names"]
    folder = evaluation_folder(arm.members[0])
    clean, adversarial = (_pixels(folder, example[kind]) for kind in ("clean", "adversarial"))
    said = {
        "index": example["index"],
        "label": names[example["label"]],
        "clean": names[example["clean_prediction"]],
        "adversarial": names[example["adversarial_prediction"]],
        "threat": example["threat"],
        "times": ENLARGED,
    }
    pictures = {
        "clean": clean,
        "difference": enlarged_difference(clean, adversarial),
        "adversarial": adversarial,
    }
    figures = [
        element(
            "figure",
            Html(f'<img src="{_data_uri(pixels)}" alt="{escape(texts(f"gallery.alt.{kind}", **said))}">'),
            element("figcaption", texts(f"gallery.{kind}", **said)),
        )
        for kind, pixels in pictures.items()
    ]
    heading = element("p", texts("gallery.card", **said), css="note")
    return element("div", heading, element("div", *figures, css="triple"), css="card")


def _pixels(folder: Path, name: str) -> np.ndarray:
    """An image of the records, (H, W[, C]), uint8; nothing outside their folder is read."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RecordsError(f"the records in {folder} name an image outside their folder ({name}); evaluate again")
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    except OSError as error:
        raise RecordsError(
            f"the records in {folder} name an image that cannot be read: {error}; evaluate again"
        ) from (error)


def _data_uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
