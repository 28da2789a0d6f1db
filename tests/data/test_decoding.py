import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from adsr_hf.data.decoding import BrokenImageError, ConversionCounts, decode_image
from adsr_hf.records.sentences import worded

RED = (255, 0, 0)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(source: bytes | Path | Image.Image) -> tuple[np.ndarray, str]:
    image, kind = decode_image(source, name="train[3]")
    assert image.mode == "RGB"
    return np.asarray(image), kind


def test_rgb_is_left_as_it_is_from_bytes_path_and_image(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    image.save(tmp_path / "a.png")
    for source in (encoded(image), tmp_path / "a.png", image):
        pixels, kind = decoded(source)
        assert kind == "RGB"
        np.testing.assert_array_equal(pixels, values)


def test_grey_is_repeated() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels, kind = decoded(encoded(Image.fromarray(values)))
    assert kind == "greyscale"
    np.testing.assert_array_equal(pixels, np.repeat(values[:, :, None], 3, axis=2))


def test_one_bit_images_become_black_and_white() -> None:
    bits = np.array([[True, False], [False, True]])
    pixels, kind = decoded(encoded(Image.fromarray(bits)))
    assert kind == "1-bit"
    np.testing.assert_array_equal(pixels[:, :, 0], bits * 255)


def test_transparency_is_laid_on_white() -> None:
    values = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    pixels, kind = decoded(encoded(Image.fromarray(values)))
    assert kind == "RGBA"
    np.testing.assert_array_equal(pixels[0, :2], [RED, (255, 255, 255)])
    np.testing.assert_allclose(pixels[0, 2], 255 * (1 - 128 / 255), atol=1)


def test_grey_with_alpha_is_laid_on_white() -> None:
    values = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    pixels, kind = decoded(encoded(Image.fromarray(values, "LA")))
    assert kind == "LA"
    np.testing.assert_array_equal(pixels[0], [(10, 10, 10), (255, 255, 255)])


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_are_resolved_and_their_transparent_colour_is_white(transparent: bool) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    pixels, kind = decoded(encoded(image, **({"transparency": 1} if transparent else {})))
    assert kind == "palette"
    np.testing.assert_array_equal(pixels[0], [RED, (255, 255, 255) if transparent else (0, 0, 255)])


def test_a_transparent_colour_of_a_grey_png_is_white() -> None:
    pixels, kind = decoded(encoded(Image.fromarray(np.array([[0, 9]], dtype=np.uint8)), transparency=9))
    assert kind == "greyscale"
    np.testing.assert_array_equal(pixels[0], [(0, 0, 0), (255, 255, 255)])


def test_cmyk_jpeg_keeps_its_colours() -> None:
    source = encoded(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in source, "the inverted kind that Photoshop writes is the one that goes wrong"
    pixels, kind = decoded(source)
    assert kind == "CMYK"
    np.testing.assert_allclose(pixels.reshape(-1, 3), np.tile(RED, (256, 1)), atol=3)


def test_ycbcr_and_lab_are_converted() -> None:
    for mode, tolerance in (("YCbCr", 2), ("LAB", 6)):
        pixels, kind = decoded(Image.new("RGB", (4, 4), RED).convert(mode))
        assert kind == mode
        np.testing.assert_allclose(pixels[0, 0], RED, atol=tolerance)


@pytest.mark.parametrize(("file_kind", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<i4")])
def test_sixteen_bit_tones_are_scaled_and_not_clipped(file_kind: str, dtype: str) -> None:
    values = np.array([[0, 128, 129, 257, 1000], [20000, 32768, 40000, 65278, 65535]])
    pixels, kind = decoded(encoded(Image.fromarray(values.astype(dtype)), file_kind))
    assert kind == "16-bit"
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(values / 257))
    np.testing.assert_array_equal(pixels[:, :, 0], pixels[:, :, 2])


def test_float_tones_in_the_unit_interval_are_scaled() -> None:
    values = np.array([[0.0, 0.25, 1.0]], dtype=np.float32)
    pixels, kind = decoded(encoded(Image.fromarray(values), "TIFF"))
    assert kind == "float"
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 64, 255])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array([[0.0, 255.0]], dtype=np.float32), r"train\[3\].*from 0 to 255.*\[0, 1\]"),
        (np.array([[0.0, np.nan]], dtype=np.float32), r"train\[3\].*nan"),
        (np.array([[-5, 100000]], dtype=np.int32), r"train\[3\].*from -5 to 100000.*\[0, 65535\]"),
    ],
)
def test_tones_without_a_meaning_are_refused_and_not_called_broken(values: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        decode_image(Image.fromarray(values), name="train[3]")
    assert not isinstance(caught.value, BrokenImageError)


def test_exif_orientation_is_applied() -> None:
    values = np.zeros((2, 3, 3), dtype=np.uint8)
    values[0, 0] = RED
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: upright after a quarter turn clockwise
    pixels, _ = decoded(encoded(Image.fromarray(values), "PNG", exif=exif))
    np.testing.assert_array_equal(pixels, np.rot90(values, -1))


@pytest.mark.parametrize("file_kind", ["PNG", "JPEG"])
def test_a_file_cut_short_is_named(tmp_path: Path, file_kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    source = encoded(Image.fromarray(noise), file_kind)
    with pytest.raises(BrokenImageError, match=r"train\[3\] cannot be read.*skip_broken_images"):
        decode_image(source[: len(source) // 2], name="train[3]")


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenImageError, match=r"gone\.png"):
        decode_image(tmp_path / "gone.png", name="gone.png")
    with pytest.raises(BrokenImageError, match=r"train\[3\]"):
        decode_image(b"this is no image", name="train[3]")


def test_counts_are_told_in_one_phrase() -> None:
    counts = ConversionCounts({"RGB": 100, "CMYK": 1, "greyscale": 12, "RGBA": 3})
    assert list(map(worded, counts.summary())) == ["12 greyscale, 3 RGBA, 1 CMYK converted to RGB"]
    assert ConversionCounts({"RGB": 5}).summary() == []


def test_an_image_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mere warning would let the memory be filled; and Pillow's own limit is the same afterwards."""
    limit, source = Image.MAX_IMAGE_PIXELS, encoded(Image.new("RGB", (40, 30)), "PNG")
    image, _ = decode_image(source, name="train[3]", max_pixels=1200)
    assert image.size == (40, 30)
    monkeypatch.setattr(PngImageFile, "load", lambda *_: pytest.fail("decoded"))
    for max_pixels in (1199, 500):
        with pytest.raises(BrokenImageError, match=r"train\[3\] has more pixels than max_image_pixels=.*raise"):
            decode_image(source, name="train[3]", max_pixels=max_pixels)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_limit_can_be_above_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    image, _ = decode_image(encoded(Image.new("RGB", (40, 30)), "PNG"), name="train[3]", max_pixels=1200)
    assert image.size == (40, 30)
