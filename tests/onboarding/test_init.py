"""A recipe for a folder of photos: what was found, why each value, and a run that starts with it as it is."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from transformers import ViTImageProcessorPil

from adsr_hf.cli.main import main
from adsr_hf.onboarding.choices import choices
from adsr_hf.onboarding.photos import look_at
from adsr_hf.onboarding.recipe_text import recipe_text
from adsr_hf.runs.recipe import load_recipe
from tests.tiny import SIZE, tiny_vit


def photos(root: Path, *, side: int = 40, **counts: int) -> Path:
    """A folder with a sub-folder for each class, of images that tell the classes apart."""
    generator = np.random.default_rng(0)
    for number, (name, count) in enumerate(counts.items()):
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = generator.integers(0, 80, (side, side + index % 3, 3)) + 60 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return root


def test_the_recipe_trains_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(Path("my photos"), good=30, defective=12)
    assert main(["init", "my photos"]) == 0
    printed = capsys.readouterr().out
    assert "2 classes, 38 train, 4 validation images, 40 px in the middle" in printed
    assert "next: adsr train 'my photos.yaml'" in printed
    path = Path("my photos.yaml")
    text = path.read_text()
    assert "good 27, defective 11" in text
    assert "There is no test split" in text
    short = ["--max_steps", "2", "--use_cpu", "true", "--eval_attack_steps", "1", "--disable_tqdm", "true"]
    assert main(["train", str(path), *short]) == 0
    assert (Path("runs/my photos") / "model.safetensors").is_file()


def test_every_value_has_its_reason_above_it_and_is_what_is_trained_with(tmp_path: Path) -> None:
    found = look_at(str(photos(tmp_path / "p", side=200, train__a=20, train__b=20, test__a=5, test__b=5)))
    chosen = choices(found, model=None)
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text(found, chosen, path, minutes="about 3 min"))
    lines = path.read_text().splitlines()
    keys = [index for index, line in enumerate(lines) if line and not line.startswith(("#", " ", "-"))]
    assert len(keys) > 25
    assert all(lines[index - 1].startswith("# ") for index in keys)
    recipe = load_recipe(path, [])
    assert (recipe.model.image_size, float(recipe.config.epsilon)) == (64, pytest.approx(4 / 255))
    assert "There is no test split" not in path.read_text()
    assert "about 3 min" in path.read_text()
    assert found.images == {"train": 36, "validation": 4, "test": 10}


def test_a_checkpoint_gets_the_preset_for_it(tmp_path: Path) -> None:
    found = look_at(str(photos(tmp_path / "p", a=20, b=20)))
    chosen = choices(found, model="runs/mine", model_side=24)
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text(found, chosen, path, minutes=""))
    recipe = load_recipe(path, [])
    assert (recipe.config.preset, recipe.config.epsilon_zero_share, recipe.model.model) == (
        "fine_tune",
        0.1,
        "runs/mine",
    )
    # An eighth of what the checkpoint sees, not of the photos.
    assert recipe.data.crop_padding == 3


def test_a_folder_called_digits_is_not_the_data_set_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos(tmp_path / "digits", a=20, b=20).parent)
    found = look_at("digits")
    assert (found.place, list(found.counts)) == ("./digits", ["a", "b"])


def test_a_small_checkpoint_is_looked_at_for_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_vit().save_pretrained(tmp_path / "mine")
    ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(tmp_path / "mine")
    photos(tmp_path / "p", side=200, a=20, b=20)
    assert main(["init", "p", "--model", "mine"]) == 0
    assert load_recipe(Path("p.yaml"), []).data.crop_padding == SIZE // 8


def test_small_images_are_left_small(tmp_path: Path) -> None:
    found = look_at(str(photos(tmp_path, side=28, a=20, b=20)))
    values = {choice.name: choice.value for part in choices(found, model=None).values() for choice in part}
    assert (values["image_size"], values["epsilon"], values["crop_padding"]) == (32, "8/255", 4)


def test_a_class_whose_name_is_yaml_ends_no_comment(tmp_path: Path) -> None:
    found = look_at(str(photos(tmp_path / "p", **{"a\nmethod: clean": 20, "b: {": 20})))
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text(found, choices(found, model=None), path, minutes=""))
    assert yaml.safe_load(path.read_text())["method"] == "adsr"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "no images"),
        ({"only": 20}, "only"),
        ({"site1__good": 10, "site1__bad": 10, "site2__good": 10, "site2__bad": 10}, "folders of folders.*bad, good"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_and_nothing_written(
    tmp_path: Path, counts: dict[str, int], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    photos(root, **counts)
    assert main(["init", str(root), "-o", str(tmp_path / "r.yaml")]) == 1
    with pytest.raises(ValueError, match=message):
        look_at(str(root))
    assert "adsr: error: " in capsys.readouterr().err
    assert not (tmp_path / "r.yaml").exists()


def test_a_place_that_is_no_folder_and_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder; name one with a sub-folder for each class"):
        look_at(str(tmp_path / "gone"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(5):
            (tmp_path / name / f"{index}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"none of 8 files .* can be read as an image"):
        look_at(str(tmp_path))


def test_a_recipe_that_is_there_is_kept_unless_it_may_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, path = photos(tmp_path / "p", a=20, b=20), tmp_path / "r.yaml"
    path.write_text("mine")
    assert main(["init", str(root), "-o", str(path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["init", str(root), "-o", str(path), "--overwrite", "true"]) == 0
    assert "method: adsr" in path.read_text()
