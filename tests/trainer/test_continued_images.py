"""`adsr train` goes on with the images that the run began with, or says what differs."""

from pathlib import Path
from typing import Any

import pytest

from adsr_hf.networks.weights import CheckpointError
from adsr_hf.runs.recipe import load_recipe
from adsr_hf.runs.train import Run, train_recipe
from tests.snapshots import tree_of

ROOT = Path(__file__).parents[2]
FLAGS = {
    "max_steps": 3,
    "save_strategy": "steps",
    "save_steps": 1,
    "eval_strategy": "no",
    "epsilon_ramp_epochs": 0,
    "attack_steps": 1,
    "eval_attack_steps": 1,
    "max_train_images": 300,
    "max_eval_images": 30,
    "disable_tqdm": "true",
}


def train(folder: Path, **flags: Any) -> Run:
    given = [word for name, value in (FLAGS | flags).items() for word in (f"--{name}", str(value))]
    recipe = load_recipe(ROOT / "recipes" / "digits" / "vit_adsr.yaml", ["--output_dir", str(folder), *given])
    return train_recipe(recipe.config, recipe.data, recipe.model)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(folder)
    return folder


@pytest.mark.parametrize(
    ("changed", "differing"),
    [
        ({"crop_padding": 2}, "crop_padding was 0 and is now 2"),
        ({"horizontal_flip": "true"}, "horizontal_flip was False and is now True"),
        ({"policy_operations": 2}, "policy_operations was 0 and is now 2"),
        ({"validation_fraction": 0.3}, "validation_fraction was 0.1 and is now 0.3"),
        ({"split_seed": 1}, "split_seed was 0 and is now 1"),
        # With the space: the field max_train_images differs too.
        ({"max_train_images": 299}, " train_images was 300 and is now 299"),
        ({"extra_dataset": "EXTRA", "extra_fraction": 0.5}, "extra_fraction was 0.7 and is now 0.5"),
    ],
)
def test_other_images_are_refused_with_both_values(
    finished: Path, tmp_path: Path, changed: dict[str, Any], differing: str
) -> None:
    if "extra_dataset" in changed:
        changed = changed | {"extra_dataset": str(_digit_folder(tmp_path))}
    before = tree_of(finished)
    with pytest.raises(CheckpointError) as error:
        train(finished, resume_from_checkpoint=finished / "checkpoint-2", **changed)
    assert differing in str(error.value)
    assert tree_of(finished) == before


def test_what_is_measured_and_kept_in_memory_may_change(finished: Path) -> None:
    checkpoint = finished / "checkpoint-2"
    run = train(finished, resume_from_checkpoint=checkpoint, max_eval_images=20, cache_gigabytes=0)
    assert run.trainer.state.global_step == 3


def _digit_folder(folder: Path) -> Path:
    """Two blank 8 × 8 images of each digit."""
    from PIL import Image

    for digit in range(10):
        (folder / str(digit)).mkdir()
        for number in range(2):
            Image.new("RGB", (8, 8)).save(folder / str(digit) / f"{number}.png")
    return folder
