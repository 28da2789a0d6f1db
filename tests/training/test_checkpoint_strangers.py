"""A checkpoint of somebody else, with a manifest that fits: nothing in it is run, and what does not fit is refused."""

import contextlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from adsr_hf.networks.weights import CheckpointError
from adsr_hf.training.checkpoints import write_manifest
from tests.snapshots import assert_identical, snapshot
from tests.tiny import tiny_trainer, tiny_vit

CONFIG: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with checkpoint-1 and checkpoint-2, and what it ended with."""
    folder = tmp_path_factory.mktemp("finished")
    trainer = tiny_trainer(folder, **CONFIG)
    trainer.train()
    return folder, snapshot(trainer)


@pytest.fixture
def checkpoint(finished: tuple[Path, Any], tmp_path: Path) -> Path:
    shutil.copytree(finished[0] / "checkpoint-1", tmp_path / "run" / "checkpoint-1")
    return tmp_path / "run" / "checkpoint-1"


class Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def plant(path: Path, mark: Path, *, legacy: bool) -> None:
    if legacy:
        path.write_bytes(pickle.dumps({"python": Code(mark)}))
    else:
        torch.save({"python": Code(mark)}, path)
    write_manifest(path.parent)
    # It would work.
    with contextlib.suppress(RuntimeError):
        torch.load(path, weights_only=False)
    mark.rmdir()


def resume(checkpoint: Path) -> Any:
    trainer = tiny_trainer(checkpoint.parent, model=tiny_vit(seed=99), **CONFIG)
    trainer.train(resume_from_checkpoint=True)
    return trainer


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_code_in_what_trainer_loads_is_refused(checkpoint: Path, tmp_path: Path, name: str, legacy: bool) -> None:
    mark = tmp_path / "mark"
    plant(checkpoint / name, mark, legacy=legacy)
    with pytest.raises(
        CheckpointError, match=f"checkpoint {checkpoint} cannot be continued.*more than numbers"
    ) as error:
        resume(checkpoint)
    assert "weights_only" not in str(error.value)
    assert not mark.exists()


def test_the_arguments_are_never_loaded(
    finished: tuple[Path, dict[str, Any]], checkpoint: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    plant(checkpoint / "training_args.bin", mark, legacy=False)
    assert_identical(snapshot(resume(checkpoint)), finished[1])
    assert not mark.exists()


def test_pickled_weights_do_not_take_the_place_of_missing_ones(checkpoint: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (checkpoint / "model.safetensors").unlink()
    plant(checkpoint / "pytorch_model.bin", mark, legacy=False)
    with pytest.raises(CheckpointError, match=r"checkpoint-1 has no model\.safetensors"):
        resume(checkpoint)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", {"base_model_name_or_path": "elsewhere"}, "whose network lies elsewhere"),
        ("config.json", {"attn_implementation": "owner/kernel"}, "owner/kernel, which is code on the Hub"),
        ("config.json", {"auto_map": {"AutoModel": "own.Own"}}, r"auto_map in config\.json names own\.Own"),
        ("config.json", {"transformers_weights": "../other.safetensors"}, "only safetensors files in the same folder"),
        ("config.json", {"hidden_size": "x"}, "checkpoint-1 is damaged"),
    ],
)
def test_a_description_beside_the_weights_leads_nowhere_else(
    checkpoint: Path, name: str, content: dict[str, Any], message: str
) -> None:
    path = checkpoint / name
    own = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(own | content))
    write_manifest(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        resume(checkpoint)


@pytest.mark.parametrize("content", [{}, [], {"state": {}, "param_groups": []}, {"state": 3, "param_groups": 4}])
def test_an_optimizer_of_another_network_is_refused(checkpoint: Path, content: Any) -> None:
    torch.save(content, checkpoint / "optimizer.pt")
    write_manifest(checkpoint)
    with pytest.raises(CheckpointError, match=r"optimizer\.pt or scheduler\.pt does not fit this run"):
        resume(checkpoint)


@pytest.mark.parametrize("content", ["[]", "{", "3", "null"])
def test_settings_that_no_run_writes_are_refused(checkpoint: Path, content: str) -> None:
    (checkpoint / "adsr_run.json").write_text(content)
    write_manifest(checkpoint)
    with pytest.raises(CheckpointError, match=r"adsr_run\.json is not what a run writes"):
        resume(checkpoint)
