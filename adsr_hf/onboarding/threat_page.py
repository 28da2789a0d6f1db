"""One page that helps to choose a radius: the noise that photos hold already, and what each radius looks like."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from adsr_hf.onboarding.sensor_noise import SensorNoise
from adsr_hf.report.markup import Html, element, joined, table
from adsr_hf.report.style import STYLE

LEVELS = (1, 2, 4, 8)
_SHOWN_SIDE = 192

_COST = (
    "A radius costs no time: training attacks as many steps whatever it is. Its price is accuracy on clean images, "
    "which falls as the radius grows, by how much depends on your photos: train at two radii and compare. A radius "
    "that turns one class into another to your own eye cannot be learned at all."
)
_LOOK = (
    "Each photo at the size that the model sees, then with every value moved up or down at random by the radius. An "
    "attack inside an Linf radius changes no value by more; what it changes has a pattern, and looks no louder."
)


def threat_page(photos: Sequence[tuple[str, Image.Image]], noise: SensorNoise, *, side: int, place: str) -> str:
    """The page, self-contained: no script, nothing to fetch.

    Args:
        photos: name and RGB image of those that are shown.
        noise: of a sample of all.
        side: of the model's images in pixels.
        place: as the user named it.
    """
    title = f"Which radius for {place}?"
    body = element(
        "main",
        element("h1", title),
        element("h2", "What the camera does already"),
        element("p", _noise_words(noise), css="lead"),
        element("p", _CAUTION, css="note"),
        element("h2", "What each radius looks like"),
        element("p", _LOOK),
        table(
            ["photo", "as it is", *(f"{level}/255" for level in LEVELS)],
            [[name, *map(_picture, _versions(image, side))] for name, image in photos],
            label="photos at each radius",
        ),
        element("h2", "What a radius costs"),
        element("p", _COST),
        element("p", joined(["Then set it: ", element("code", "epsilon: 4/255"), " in the recipe."])),
    )
    head = joined(
        [
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


_CAUTION = (
    "The estimate is of the files as they are. Downsizing and JPEG lower it, fine texture raises it, and it says "
    "nothing about an attacker, who chooses the worst change and not a random one."
)


def _noise_words(noise: SensorNoise) -> str:
    return (
        f"Over {noise.photos} photos the noise has a standard deviation of {noise.median:.1f} grey levels of 255 in "
        f"the middle ({noise.low:.1f} to {noise.high:.1f} for half of them). Two photos of one "
        f"scene then differ by about {2**0.5 * noise.median:.1f} levels in each value: a radius below that is less "
        "than the camera does by itself."
    )


def _versions(image: Image.Image, side: int) -> list[np.ndarray]:
    """The photo at the model's size, (side, side, 3) uint8, and under random signs of each radius."""
    small = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), dtype=np.int16)
    signs = np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.int16), small.shape)
    return [np.clip(small + level * signs, 0, 255).astype(np.uint8) for level in (0, *LEVELS)]


def _picture(pixels: np.ndarray) -> Html:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    style = f"width: {_SHOWN_SIDE}px; image-rendering: pixelated"
    return Html(f'<img alt="" src="{source}" style="{escape(style)}">')
