"""Whether two models must cost the same: shown from their files, where a clock on a busy machine could not tell."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from adsr_hf.evaluation.model_files import CONFIG, model_files

# What a configuration says that no inference depends on.
_WITHOUT_COST = ("_name_or_path", "transformers_version", "id2label", "label2id", "problem_type", "initializer_range")
_TRAINING_ONLY = ("dropout", "drop_path")


def same_cost(first: Path, second: Path) -> bool:
    """Whether both folders hold one architecture: equal settings, and weights of equal names, shapes and types.

    The same operations are done then, on images of one size; only the numbers in the weights differ. False says
    nothing about the cost.

    Args:
        first, second: folders of models with safetensors weights.

    Raises:
        OSError, ValueError, safetensors.SafetensorError: when one cannot be read.
    """
    return _settings(first) == _settings(second) and _weights(first) == _weights(second)


def _settings(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return {
        name: value
        for name, value in config.items()
        if name not in _WITHOUT_COST and not any(part in name for part in _TRAINING_ONLY)
    }


def _weights(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    found = {}
    for name in model_files(folder):
        if name.endswith(".safetensors"):
            with safe_open(folder / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  (safe_open is no mapping)
                    part = file.get_slice(key)
                    found[key] = (part.get_dtype(), tuple(part.get_shape()))
    return found
