"""The files that a model is loaded from, each with its hash, so that what was measured is what ships."""

import re
from pathlib import Path
from typing import Any

from adsr_hf.records.files import file_sha256
from adsr_hf.records.json_shapes import ShapeError, read_object

CONFIG = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What a download of a model needs; more than one model's files may match.
MODEL_PATTERNS = (WEIGHTS, "model-*-of-*.safetensors", INDEX, CONFIG, *PROCESSORS)
ADAPTER = "adapter_config.json"
PICKLED_PATTERNS = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")


class ModelFilesError(ValueError):
    """A folder that no model can be loaded from whose every file is known: it says what is in the way."""


def is_model_file(name: str) -> bool:
    """Whether a model's folder may hold a file of this name that inference loads; never true of a path."""
    return name in (CONFIG, INDEX, *PROCESSORS) or _SHARD.fullmatch(name) is not None


def model_files(folder: Path) -> dict[str, str]:
    """sha256 of each file that ``from_pretrained`` reads a model and its image processor from, by name.

    Weights are ``model.safetensors``, or the shards that its index names; other weights in the folder are not loaded.

    Raises:
        ModelFilesError: when there are no such weights or no config.json, or when loading the folder would read
            something else too: pickled weights, an adapter's base model, weights that config.json names.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFilesError(f"{folder} is not a folder; name one that save_pretrained wrote")
    _check_config(folder)
    names = [CONFIG, *(name for name in PROCESSORS if (folder / name).is_file()), *_weights(folder)]
    return {name: file_sha256(folder / name) for name in sorted(names)}


def _check_config(folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        raise ModelFilesError(f"{folder} has no {CONFIG}, so no model can be loaded from it; name a model's folder")
    if (folder / ADAPTER).is_file():
        raise ModelFilesError(
            f"{folder} has an {ADAPTER}, so its weights are those of another model and an adapter; merge them with "
            "merge_and_unload(), and save the whole model with save_pretrained"
        )
    config = _json(folder / CONFIG)
    for name in ("transformers_weights", "configuration_files"):
        if config.get(name) is not None:
            raise ModelFilesError(
                f"{folder / CONFIG} sets {name} to {config[name]!r}, so that other files are loaded than those of "
                f"every model; save the model with save_pretrained, which writes {CONFIG} and {WEIGHTS}"
            )


def _weights(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / INDEX).is_file():
        return [INDEX, *_shards(folder)]
    pickled = sorted(path.name for pattern in PICKLED_PATTERNS for path in folder.glob(pattern))
    if pickled:
        raise ModelFilesError(
            f"{folder} has pickled weights ({pickled[0]}) and no {WEIGHTS}; convert them once: "
            f"AutoModelForImageClassification.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    raise ModelFilesError(f"{folder} has no {WEIGHTS}; save the model with save_pretrained, which writes it")


def _shards(folder: Path) -> list[str]:
    named = _json(folder / INDEX).get("weight_map")
    shards = sorted(set(named.values()), key=str) if isinstance(named, dict) and _texts(named) else []
    if not shards:
        raise ModelFilesError(f"{folder / INDEX} names no weights; save the model again with save_pretrained")
    for name in shards:
        if not _SHARD.fullmatch(name) or not (folder / name).is_file():
            raise ModelFilesError(
                f"{folder / INDEX} names {name!r}, which is no file of that folder; save the model again with "
                "save_pretrained"
            )
    return shards


def _texts(named: dict[str, Any]) -> bool:
    return all(isinstance(digest, str) for digest in named.values())


def _json(path: Path) -> dict[str, Any]:
    try:
        # transformers writes an infinite setting as Python does.
        return read_object(path, nan=True)
    except ShapeError as error:
        raise ModelFilesError(f"{path} is damaged: {error}; save the model again") from error
