"""The table's script runs, stops, continues, and counts rightly. What it finds on a GPU is not judged here."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from adsr_hf.runs.recipe import recipe_from_settings
from benchmarks.paper_table.__main__ import DONE, MORE, main
from benchmarks.paper_table.plan import epochs_within, make_plan, seconds_per_epoch
from benchmarks.paper_table.settings import NETWORKS, ROWS, RUNS, SMOKE_SIZES, Sizes, run_settings
from benchmarks.paper_table.table import collect, markdown, verdicts
from benchmarks.paper_table.work import parts

CLASSES = [f"class {index}" for index in range(10)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """CIFAR-10's shape, few images, lossless."""
    return write_images(tmp_path_factory.mktemp("cifar"), "PNG")


def write_images(folder: Path, coding: str) -> str:
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=CLASSES)})
    for split, count in (("train", 80), ("test", 25)):
        pixels = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        rows = {"image": [coded(one, coding) for one in pixels], "label": [index % 10 for index in range(count)]}
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def coded(pixels: np.ndarray, coding: str) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, coding)
    return {"bytes": buffer.getvalue(), "path": None}


def command(data: str, folder: Path, *words: str) -> int:
    places = ["--output-dir", str(folder / "runs"), "--results", str(folder / "results" / "table")]
    return main(["--smoke", "--data", data, "--test-data", data, *places, *words])


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results" / "table.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_trains_attacks_and_tells(data: str, tmp_path: Path) -> None:
    words = ("--networks", "vit_t", "--runs", "adr")
    assert command(data, tmp_path, *words) == DONE
    found = record(tmp_path)
    assert found["complete"]
    assert [row["row"] for row in found["rows"]] == ["ADR", "ADR+WA"]
    for row in found["rows"]:
        assert (row["images"], row["autoattack_images"], row["autoattack_parts"]) == (20, 20, 2)
        assert row["autoattack_accuracy"] <= row["accuracy"]
        low, high = row["autoattack_interval"]
        assert low <= row["autoattack_accuracy"] <= high
        assert row["trained_on"] == f"the train images of {data} (PNG)"
        assert row["tested_on"] == f"the test images of {data} (PNG)"
    text = (tmp_path / "results" / "table.md").read_text(encoding="utf-8")
    assert "JPEG" not in text
    assert f"Trained on the train images of {data} (PNG)**.\n" in text
    assert "Smoke run" in text
    assert command(data, tmp_path, *words) == DONE
    again = record(tmp_path)
    assert again["rows"] == found["rows"]
    with pytest.raises(ValueError, match=r"runs was \['adr'\] and is now \['at'\].*another --output-dir"):
        command(data, tmp_path, "--networks", "vit_t", "--runs", "at")
    # Finished parts are never measured again: other test images would be told together with the old ones.
    other = write_images(tmp_path / "other", "PNG")
    with pytest.raises(ValueError, match=f"test_data was '{data}' and is now '{other}'"):
        command(data, tmp_path, *words, "--test-data", other)


def test_a_table_says_that_its_networks_saw_jpeg(data: str, tmp_path: Path) -> None:
    lossy = write_images(tmp_path / "jpeg", "JPEG")
    plan = make_plan(
        tmp_path,
        networks=["vit_t"],
        runs=["at"],
        total_minutes=5,
        data=lossy,
        test_data=data,
        sizes=SMOKE_SIZES,
    )
    row = dict.fromkeys(("accuracy", "pgd_accuracy", "autoattack_accuracy", "ece", "best_minus_last_pgd"), 0.5)
    row |= {"network": "vit_t", "row": "AT", "epochs": 2, "images_per_second": 1, "autoattack_images": 9}
    rows = [row | {"autoattack_interval": None}]
    text = markdown({"plan": plan, "complete": True, "rows": rows, "comparisons": [], "verdicts": []})
    assert f"**Trained on the train images of {lossy} (JPEG)**, which are lossy" in text
    assert f"Tested on the test images of {data} (PNG), the first ones." in text
    assert "| vit_t (JPEG-trained) | AT |" in text


@pytest.mark.slow
def test_stopped_again_and_again_it_ends_where_a_whole_run_does(data: str, tmp_path: Path) -> None:
    assert command(data, tmp_path / "whole") == DONE
    codes = []
    for _ in range(200):
        codes.append(command(data, tmp_path / "pieces", "--minutes", "0.05"))
        if codes[-1] == DONE:
            break
    assert codes[-1] == DONE
    assert set(codes[:-1]) == {MORE}
    whole, pieces = record(tmp_path / "whole"), record(tmp_path / "pieces")
    assert len(whole["rows"]) == 2 * len(ROWS)
    pairs = [("ADR", "AT"), ("ADR+WA", "AT+WA"), ("ADR+WA+AWP", "AT+WA+AWP"), ("ADR+WA+AWP", "AT")]
    assert [(one["row"], one["against"]) for one in whole["comparisons"]] == 2 * pairs
    assert whole["comparisons"] == pieces["comparisons"]
    for one, other in zip(whole["rows"], pieces["rows"], strict=True):
        assert {key: value for key, value in one.items() if key != "images_per_second"} == {
            key: value for key, value in other.items() if key != "images_per_second"
        }


def test_nothing_finished_is_an_empty_table(tmp_path: Path) -> None:
    plan = {"networks": ["resnet18"], "runs": list(RUNS), "epochs": {"resnet18": 3}}
    assert collect(tmp_path, plan, parts=2) == {"rows": [], "comparisons": [], "complete": False}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("run", RUNS)
def test_every_run_is_a_valid_recipe_of_the_methods_in_its_rows(network: str, run: str) -> None:
    settings = run_settings(network, run, epochs=8, data="digits", sizes=Sizes())
    config = recipe_from_settings(settings | {"output_dir": "unused"}).config
    assert config.keeps_teacher
    assert config.rectifies == run.startswith("adr")
    assert (config.weight_perturbation == "layerwise_sam") == run.endswith("awp")
    assert config.num_train_epochs == 8


def test_plan_fits_epochs_into_the_time(data: str, tmp_path: Path) -> None:
    assert epochs_within(495, 60) == 8
    assert epochs_within(10, 60) == 1
    assert epochs_within(1e9, 60) == 100
    assert seconds_per_epoch("resnet18", "adr_awp", data=data, sizes=SMOKE_SIZES) > 0
    plan = make_plan(
        tmp_path, networks=["vit_t"], runs=["at"], total_minutes=5, data=data, test_data=data, sizes=SMOKE_SIZES
    )
    assert plan == json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))


def test_parts_cover_every_image_once() -> None:
    cut = parts(1000, 128)
    assert [index for part in cut for index in part] == list(range(1000))
    assert {len(part) for part in cut[:-1]} == {128}


@pytest.mark.parametrize(
    ("interval", "gaps", "outcomes"),
    [
        ((0.012, 0.05), (0.08, 0.04), ("met", "met")),
        ((-0.02, 0.005), (0.08, 0.05), ("not met", "not met")),
        ((-0.01, 0.03), (0.0, 0.0), ("not decidable", "met")),
    ],
)
def test_goals_are_judged_by_intervals(
    interval: tuple[float, float], gaps: tuple[float, float], outcomes: tuple[str, str]
) -> None:
    comparisons = [{"network": "vit_t", "row": "ADR", "against": "AT", "interval": interval}]
    rows = [
        {"network": "vit_t", "row": row, "best_minus_last_pgd": gap, "autoattack_accuracy": value}
        for row, gap, value in zip(("AT", "ADR"), gaps, (0.41, 0.46), strict=True)
    ]
    gain, drop, level = verdicts({"comparisons": comparisons, "rows": rows})
    assert outcomes[0] in gain.rpartition(": ")[2]
    assert drop.endswith(outcomes[1])
    assert level.endswith("met (46.0)")


@pytest.mark.parametrize("minutes", ["0", "-1", "inf", "soon"])
def test_impossible_minutes_are_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--minutes", minutes])
    assert "number of minutes" in capsys.readouterr().err
