"""What a model is loaded from is hashed, completely; where something else would be loaded too, that is refused."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageClassification

from adsr_hf.evaluation.model_files import ModelFilesError, is_model_file, model_files
from tests.tiny import tiny_vit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_vit().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    return tmp_path


def test_every_file_that_loading_reads_is_hashed(folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(b"no part of it")
    (folder / "teacher.safetensors").write_bytes(b"no part of it")
    found = model_files(folder)
    assert set(found) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert found["model.safetensors"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_shards_are_those_of_the_index(folder: Path) -> None:
    model = AutoModelForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    assert len(shards) > 1
    assert set(model_files(folder)) >= shards | {"model.safetensors.index.json"}
    (folder / min(shards)).unlink()
    with pytest.raises(ModelFilesError, match="which is no file of that folder"):
        model_files(folder)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "", "a/b.safetensors", 3, None, ["x"]])
def test_shards_outside_the_folder_are_refused(folder: Path, name: object) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelFilesError, match="names"):
        model_files(folder)


def test_weights_that_loading_would_not_take_do_not_count(folder: Path) -> None:
    """A pickle beside safetensors is not loaded; transformers shows it."""
    before = model_files(folder)
    state = AutoModelForImageClassification.from_pretrained(folder).state_dict()
    torch.save({name: torch.zeros_like(tensor) for name, tensor in state.items()}, folder / "pytorch_model.bin")
    assert model_files(folder) == before
    loaded = AutoModelForImageClassification.from_pretrained(folder).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_what_cannot_be_known_is_refused(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    for content, message in (
        (json.dumps(json.loads(config) | {"transformers_weights": "other.safetensors"}), "transformers_weights"),
        (json.dumps(json.loads(config) | {"configuration_files": ["config.5.0.0.json"]}), "configuration_files"),
        ("[]", "instead of a JSON object"),
        ('{"dtype": "float32", "dtype": "float16"}', "given twice"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
    ):
        (folder / "config.json").write_text(content)
        with pytest.raises(ModelFilesError, match=message):
            model_files(folder)
    (folder / "config.json").write_text(config)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelFilesError, match="adapter"):
        model_files(folder)
    (folder / "adapter_config.json").unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFilesError, match=r"pickled weights \(pytorch_model.bin\).*save_pretrained"):
        model_files(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelFilesError, match=r"no model\.safetensors"):
        model_files(folder)
    with pytest.raises(ModelFilesError, match="is not a folder"):
        model_files(folder / "missing")


@pytest.mark.parametrize(
    "name",
    [
        *("../config.json", "a/model.safetensors", "/model.safetensors", "..", "", ".safetensors"),
        *("model.safetensors\n", "a\\model.safetensors", "model.bin", "authorized_keys", "\0.safetensors"),
    ],
)
def test_paths_and_other_files_are_no_model_files(name: str) -> None:
    assert not is_model_file(name)
