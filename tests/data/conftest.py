import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from transformers import ViTImageProcessor


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf-cache"))


@pytest.fixture
def make_processor() -> Callable[..., Any]:
    """Mean and standard deviation differ by channel, so that a swapped channel shows."""

    def make(side: int = 8, **overrides: Any) -> Any:
        settings: dict[str, Any] = {
            "size": {"height": side, "width": side},
            "image_mean": [0.4, 0.5, 0.6],
            "image_std": [0.2, 0.25, 0.3],
        }
        return ViTImageProcessor(**(settings | overrides))

    return make


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write a random RGB picture of a given size (width, height), different for each seed."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
        return path

    return write


@pytest.fixture
def image_folder(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., Path]:
    """A folder of images: ``{"train/cat": 3}`` writes three PNG files into train/cat, all of them different."""

    def make(counts: dict[str, int], name: str = "pets", size: tuple[int, int] = (12, 10)) -> Path:
        root = tmp_path / name
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                write_image(
                    root / folder / f"{number:03d}.png",
                    seed=zlib.crc32(f"{name}/{folder}/{number}".encode()),
                    size=size,
                )
        return root

    return make
