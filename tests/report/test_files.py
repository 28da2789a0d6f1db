"""Parts of the page that come from files or lead back to them: examples, recipe, commands, the written page."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from adsr_hf.decision.arms import read_arm
from adsr_hf.report.page import write_report
from adsr_hf.report.sections.gallery import enlarged_difference
from adsr_hf.report.sections.reproduction import evaluate_command, recipe_text
from adsr_hf.runs.recipe import load_recipe
from adsr_hf.settings.errors import RecordsError
from tests.report.reading import Reader, change_summary, page_of, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", noise_accuracy=None)


def test_gallery_shows_the_kept_files_and_ten_times_their_difference(run: Path) -> None:
    page = Reader(page_of(run))
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one.partition(",")[2]))))
        for one in page.fetched
        if one.startswith("data:")
    ]
    kept = [np.asarray(Image.open(path)) for path in sorted((run / "evaluation/examples").glob("00000-*.png"))]
    assert np.array_equal(pictures[0], kept[1])
    assert np.array_equal(pictures[2], kept[0])
    difference = kept[0].astype(int) - kept[1].astype(int)
    assert np.array_equal(pictures[1].astype(int), 128 + 10 * difference)
    assert "Image 0 under attack Linf 4/255, read as class 1" in page.told
    assert len([one for one in page.told if one.startswith("Image")]) == 4


def test_enlarged_difference_stays_in_the_range_of_grey() -> None:
    dark, bright = np.zeros((1, 2), np.uint8), np.array([[255, 3]], np.uint8)
    assert enlarged_difference(dark, bright).tolist() == [[255, 158]]
    assert enlarged_difference(bright, dark).tolist() == [[0, 98]]


def test_the_recipe_on_the_page_trains_the_same(tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "recipes/digits/vit_adsr.yaml").read_text())
    original = load_recipe(ROOT / "recipes/digits/vit_adsr.yaml", ["--output_dir", str(tmp_path)])
    record = {
        "config": original.config.to_dict(),
        "data": vars(original.data),
        "model": vars(original.model),
    }
    (tmp_path / "recipe.yaml").write_text(recipe_text(json.loads(json.dumps(record))))
    again = load_recipe(tmp_path / "recipe.yaml", ["--output_dir", str(tmp_path)])
    assert again.data == original.data
    assert again.model == original.model
    for name in settings:
        if name in record["config"] and name not in ("save_strategy", "logging_steps", "report_to"):
            assert getattr(again.config, name) == getattr(original.config, name), name


def test_the_command_on_the_page_measures_the_same(run: Path) -> None:
    member = read_arm([str(run)]).members[0]
    command = evaluate_command(member)
    assert command.startswith("adsr evaluate ")
    assert "--threat 'Linf 4/255' 'Linf 8/255' --attacks pgd square --attack_steps 20 --attack_restarts 1" in command
    assert "--sanity true --seed 0" in command


def test_examples_outside_the_records_are_not_read(run: Path) -> None:
    (run / "secret.png").write_bytes((run / "evaluation/examples/00000-clean.png").read_bytes())
    examples = json.loads((run / "evaluation/summary.json").read_text())["examples"]
    change_summary(run, examples=[examples[0] | {"clean": "../secret.png"}])
    with pytest.raises(RecordsError, match="outside their folder"):
        page_of(run)


def test_an_example_that_is_gone_is_named(run: Path) -> None:
    (run / "evaluation/examples/00000-clean.png").unlink()
    with pytest.raises(RecordsError, match=r"00000-clean\.png.*evaluate again"):
        page_of(run)


def test_a_failed_write_leaves_the_old_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "report.html"
    output.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adsr_hf.records.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report([str(run)], output)
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]
