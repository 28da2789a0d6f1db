"""A current model that lives on the Hub: measured, decided against, and returned to by its commit, for real."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import ViTImageProcessor

from adsr_hf.evaluation.model_files import model_files
from tests.hub_server import Hub, Repository
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]
# One process, since the Hub client reads its settings when it is imported.
WORK = """
import shutil, sys
from pathlib import Path
from adsr_hf.cli.main import main
folder = Path(sys.argv[1])
measure = ["--dataset", "digits", "--max_eval_images", "20", "--threat", "Linf 2/255", "--attack_steps", "1"]
for name, place in (("tester/old", "old"), (str(folder / "new"), "new evaluated")):
    assert main(["evaluate", name, *measure, "--output_dir", str(folder / place)]) == 0
arms = [str(folder / "new evaluated"), str(folder / "old")]
decision = str(folder / "decision.json")
assert main(["gate", *arms, "--policy", str(folder / "policy.yaml"), "--output", decision]) == 0
shutil.rmtree(folder / "home" / "hub")
assert main(["rollback", decision, "--to", str(folder / "served")]) == 0
assert main(["promote", decision, "--to", str(folder / "served")]) == 0
"""


@pytest.mark.slow
def test_a_model_of_the_hub_is_hashed_and_can_be_returned_to(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    for seed, name in enumerate(("old", "new")):
        model = tiny_model("vit", seed=seed, num_labels=10, image_size=8)
        model.config.id2label = {index: str(index) for index in range(10)}
        model.save_pretrained(tmp_path / "made" / name)
        processor = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        processor.save_pretrained(tmp_path / "made" / name)
    (tmp_path / "made" / "new").rename(tmp_path / "new")
    files = {path.name: path.read_bytes() for path in (tmp_path / "made" / "old").iterdir()}
    (tmp_path / "policy.yaml").write_text("maximum_loss: {brier_score: 1.9}\nbeats_majority: false")
    with Hub("hf_token") as hub:
        hub.repositories["tester/old"] = Repository(files=files)
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        environment = os.environ | settings | {"HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", WORK, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stdout + done.stderr
    decided = json.loads((tmp_path / "decision.json").read_text())
    assert decided["rollback_point"]["hub_name"] == "tester/old"
    assert decided["rollback_point"]["sha256"] == model_files(tmp_path / "made" / "old")
    assert model_files(tmp_path / "served") == model_files(tmp_path / "new")
    (kept,) = tmp_path.glob("served.former-*")
    assert model_files(kept) == model_files(tmp_path / "made" / "old")
