"""``adsr compare`` as a user types it."""

import json
from pathlib import Path

import pytest
from transformers import ViTConfig, ViTForImageClassification

from adsr_hf.cli.main import main
from tests.evaluation.fake_records import record_model_files, write_fake_run


def real_run(folder: Path, seed: int, layers: int) -> Path:
    """Made-up records beside a network that can be timed."""
    run = write_fake_run(folder, train_seed=seed)
    config = ViTConfig(hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
                       image_size=8, patch_size=2, num_labels=4)  # fmt: skip
    ViTForImageClassification(config).save_pretrained(run)
    record_model_files(run)
    return run


def test_everything_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = (real_run(tmp_path / name, seed, layers=1 + seed) for seed, name in enumerate("abc"))
    output = tmp_path / "comparison.json"
    assert main(["compare", str(a), str(b), "--baseline", str(c), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    written = json.loads(output.read_text())
    for delta in written["deltas"]:
        assert f"  {delta['name']}: " in printed
    assert written["latency"]["rounds"] >= 30
    assert 0.2 < written["latency"]["ratio"] < 2
    assert [one["current"] for one in written["against_baseline"]] == [str(c), str(c)]
    assert printed.count("200 test images") == 3


def test_several_seeds_are_joined_by_commas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = ",".join(str(write_fake_run(tmp_path / f"a{seed}", train_seed=seed)) for seed in range(2))
    b = ",".join(str(write_fake_run(tmp_path / f"b{seed}", train_seed=5 + seed)) for seed in range(2))
    assert main(["compare", a, b, "--latency", "false"]) == 0
    assert "t over images and runs" in capsys.readouterr().out


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert "make them with adsr evaluate" in capsys.readouterr().err
    assert main(["compare", "a", "b", "--latency", "maybe"]) == 2
    assert "must be true or false" in capsys.readouterr().err
