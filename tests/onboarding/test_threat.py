"""A page that helps to choose a radius: the noise that is there, and what each radius looks like."""

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adsr_hf.cli.main import main
from adsr_hf.onboarding.sensor_noise import SensorNoise, estimate_noise
from adsr_hf.onboarding.threat_page import LEVELS, threat_page
from tests.onboarding.test_init import photos


def scene(side: int = 96) -> np.ndarray:
    """A smooth picture, (side, side, 3), float, in grey levels."""
    rows, columns = np.mgrid[:side, :side] / side
    return np.stack([60 + 120 * rows, 200 - 100 * columns, 128 + 0 * rows], axis=-1)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_known_noise_is_found(sigma: float) -> None:
    generator = np.random.default_rng(0)
    images = [
        Image.fromarray(np.clip(scene() + sigma * generator.standard_normal((96, 96, 3)), 0, 255).astype(np.uint8))
        for _ in range(8)
    ]
    found = estimate_noise(images)
    # Cutting to whole levels adds 1/12 to the variance.
    assert found.median == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.08)
    assert found.low <= found.median <= found.high
    assert found.photos == 8


def test_the_page_shows_each_radius_at_the_models_size_and_fetches_nothing() -> None:
    image = Image.fromarray(scene().astype(np.uint8))
    page = threat_page([("<b>good</b>", image)], SensorNoise(1.5, 1.0, 2.0, 7), side=32, place="<i>mine</i>")
    assert "<b>good</b>" not in page
    assert "<i>mine</i>" not in page
    assert "standard deviation of 1.5 grey levels" in page
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 1 + len(LEVELS)
    assert "<script" not in page
    assert "http" not in page
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))).astype(int)
        for source in sources
    ]
    assert all(picture.shape == (32, 32, 3) for picture in pictures)
    for level, picture in zip(LEVELS, pictures[1:], strict=True):
        assert set(np.unique(np.abs(picture - pictures[0]))) == {level}


def test_the_command_writes_it_and_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, page = photos(tmp_path / "p", a=10, b=10), tmp_path / "threat.html"
    assert main(["threat", str(root), "-o", str(page), "--image_size", "24"]) == 0
    assert re.search(r"noise of \d+\.\d grey levels in the middle of 18 photos", capsys.readouterr().out)
    assert page.read_text().count("<img ") == 4 * (1 + len(LEVELS))


def test_without_the_extra_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    assert main(["threat", str(photos(tmp_path / "p", a=10, b=10)), "-o", str(tmp_path / "t.html")]) == 1
    assert "pip install 'adsr_hf[threat]'" in capsys.readouterr().err
    assert not (tmp_path / "t.html").exists()


@pytest.mark.parametrize("side", ["0", "5000"])
def test_a_size_that_is_none_is_refused(side: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["threat", "photos", "--image_size", side]) == 2
    assert f"--image_size={side} must lie in [8, 1024]" in capsys.readouterr().err
