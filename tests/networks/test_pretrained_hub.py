"""The same refusals for names on the Hub, by the real client against a small Hub on 127.0.0.1."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.hub_server import Hub, Repository
from tests.tiny import tiny_processor, tiny_vit

ROOT = Path(__file__).resolve().parents[2]

WORKER = """
import json, sys
from adsr_hf.networks.pretrained import load_classifier, load_config, load_image_processor

told = {}
for name in sys.argv[1:]:
    for load in (load_classifier, load_config, load_image_processor):
        try:
            loaded = load(name)
            told[f"{name} {load.__name__}"] = type(loaded).__name__
        except ValueError as error:
            told[f"{name} {load.__name__}"] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each loader says of a good repository, one with code of its own, one with pickles, and one in shards."""
    folder = tmp_path_factory.mktemp("model")
    model = tiny_vit()
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    marker = folder / "code-was-run"
    config = json.loads(good["config.json"]) | {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    code = good | {"config.json": json.dumps(config).encode(), "own.py": f"open({str(marker)!r}, 'w')".encode()}
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    pickled = {name: content for name, content in good.items() if name != "model.safetensors"}
    pickled["pytorch_model.bin"] = (folder / "pytorch_model.bin").read_bytes()
    model.save_pretrained(folder / "shards", max_shard_size="10KB")
    shards = {path.name: path.read_bytes() for path in (folder / "shards").iterdir()}
    with Hub("hf_token") as hub:
        for name, files in {"good": good, "code": code, "pickled": pickled, "shards": pickled | shards}.items():
            hub.repositories[f"owner/{name}"] = Repository(files=dict(files))
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        names = [f"owner/{name}" for name in ("good", "code", "pickled", "shards", "missing")]
        done = subprocess.run(
            [sys.executable, "-c", WORKER, *names],
            cwd=ROOT,
            env=environment,
            input="y\n" * 20,
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    assert list((folder / "home").rglob("own.py")) == [], "code that is not run need not be fetched either"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["good", "shards"])
def test_an_ordinary_model_is_loaded(told: dict[str, str], name: str) -> None:
    assert told[f"owner/{name} load_classifier"] == "ViTForImageClassification"
    assert told[f"owner/{name} load_config"] == "ViTConfig"


@pytest.mark.parametrize("loader", ["load_classifier", "load_config", "load_image_processor"])
def test_code_of_its_own_is_refused(told: dict[str, str], loader: str) -> None:
    assert "PretrainedError: owner/code asks for code of its own" in told[f"owner/code {loader}"]
    assert "auto_map in config.json names own.OwnConfig" in told[f"owner/code {loader}"]


def test_pickled_weights_are_refused_with_the_way_to_convert_them(told: dict[str, str]) -> None:
    assert "owner/pickled has no model.safetensors" in told["owner/pickled load_classifier"]
    assert "save_pretrained" in told["owner/pickled load_classifier"]


def test_a_name_that_leads_nowhere_is_told(told: dict[str, str]) -> None:
    assert "PretrainedError" in told["owner/missing load_classifier"]
    assert "owner/missing" in told["owner/missing load_classifier"]
