"""What would end a cell after its training is found before anything is run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adsr_hf.settings.errors import UsageError
from adsr_hf.study.description import Study, read_study
from adsr_hf.study.runner import run_cells
from tests.study.files import write_study


def studied(folder: Path, settings: dict[str, Any], evaluation: dict[str, Any]) -> Study:
    return read_study(write_study(folder, settings=settings, evaluation=evaluation))


def start(study: Study) -> None:
    next(run_cells(study.cells, parallel=1, threads=1, launch=None))


@pytest.mark.parametrize(
    ("settings", "evaluation", "message"),
    [
        ({"validation_fraction": 0}, {"split": "validation"}, "split='validation' .* with validation_fraction=0"),
        ({}, {"max_eval_images": 5}, "max_eval_images=5 must be at least 10"),
        ({}, {"sanity": True, "undefended": "/nowhere"}, "undefended='/nowhere' is no checkpoint"),
        ({"dataset": "FOLDER"}, {}, "split='test' of the evaluation does not exist"),
    ],
)
def test_what_could_not_be_measured_is_not_trained(
    settings: dict[str, Any], evaluation: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if settings.get("dataset"):
        settings = {"dataset": str(class_folders(tmp_path / "images"))}
    study = studied(tmp_path, settings, evaluation)
    with pytest.raises(UsageError, match=rf"^AT, seed 0 could not be measured, so nothing was run: .*{message}"):
        start(study)
    assert not study.output_dir.exists()


def class_folders(root: Path) -> Path:
    """Two classes, no split of their own."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(root / name / f"{index}.png")
    return root
