"""Any image file to 8-bit RGB, as a photographer would expect it."""

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from adsr_hf.records.sentences import Sentence, sentence
from adsr_hf.settings.data import MAX_IMAGE_PIXELS

_KIND_OF_MODE = {"1": "1-bit", "L": "greyscale", "P": "palette", "I": "16-bit", "F": "float"}
# Other modes of Pillow are called as it calls them.
_NAMED_KINDS = {*_KIND_OF_MODE.values(), "RGBA", "LA"}


class BrokenImageError(ValueError):
    """An image that is missing, cut short or otherwise unreadable; the message names it."""


class ConversionCounts(Counter[str]):
    """How many images of each kind were met: ``"RGB"``, or what had to be converted."""

    def summary(self) -> list[Sentence]:
        """Such as ``"12 greyscale, 3 RGBA converted to RGB"``; none when nothing was converted."""
        kinds = [
            sentence(
                "data.images_of_kind",
                count=count,
                kind=sentence(f"data.kind.{kind}") if kind in _NAMED_KINDS else kind,
            )
            for kind, count in self.most_common()
            if kind != "RGB"
        ]
        return [sentence("data.converted", kinds=kinds)] if kinds else []


def decode_image(
    source: bytes | str | Path | Image.Image, *, name: str, max_pixels: int = MAX_IMAGE_PIXELS
) -> tuple[Image.Image, str]:
    """Read an image, turn it upright by its EXIF orientation, and convert it to 8-bit RGB.

    Grey is repeated, transparency is laid on white, CMYK and other colour spaces are converted, 16-bit grey is divided
    by 257 so that no tone is clipped, and float grey in [0, 1] is multiplied by 255.

    Args:
        source: the file's bytes, its path, or an image that is open already.
        name: what errors call it, such as ``"train[12]"`` or a path.
        max_pixels: an image of more pixels (width × height) is not decoded.

    Returns:
        The RGB image, and its kind: ``"RGB"``, ``"greyscale"``, ``"1-bit"``, ``"16-bit"``, ``"float"``, ``"palette"``
        or the name of its Pillow mode, such as ``"RGBA"``, ``"LA"`` and ``"CMYK"``.

    Raises:
        BrokenImageError: a ValueError, when the image cannot be read, or is too large.
        ValueError: when its values have no agreed meaning as grey levels.
    """
    try:
        with _pixel_limit(max_pixels):
            image = source if isinstance(source, Image.Image) else Image.open(_as_file(source))
            image.load()
            image = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BrokenImageError(
            f"image {name} has more pixels than max_image_pixels={max_pixels:,}, and may be a small file that fills "
            f"the memory ({error}); remove it, set skip_broken_images to leave such images out, or raise "
            "max_image_pixels where images are truly that large"
        ) from error
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise BrokenImageError(
            f"image {name} cannot be read ({error}); repair or remove it, or set skip_broken_images to leave such "
            "images out"
        ) from error
    mode = image.mode
    kind = "16-bit" if mode.startswith("I;16") else _KIND_OF_MODE.get(mode, mode)
    if kind in ("16-bit", "float"):
        return _from_high_range(image, kind, name).convert("RGB"), kind
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB"), kind
    return image.convert("RGB"), kind


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's own check of each image's size, at another limit, and never a mere warning."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _as_file(source: bytes | str | Path) -> io.BytesIO | Path:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source)


def _from_high_range(image: Image.Image, kind: str, name: str) -> Image.Image:
    """8-bit grey from 16-bit or float grey; Pillow's own conversion would clip it."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if kind == "float" else 65535.0
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= top):
        raise ValueError(
            f"image {name} holds {kind} grey levels from {low:g} to {high:g}; they must lie in [0, {top:g}] to have a "
            "meaning as grey levels: rescale the file"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
