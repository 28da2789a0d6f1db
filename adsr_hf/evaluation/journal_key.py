"""Everything that an outcome depends on, so that finished images are only ever joined with their like."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

import adsr_hf.attacks
import adsr_hf.networks
from adsr_hf.attacks import PixelSpace
from adsr_hf.evaluation import corruptions, driver, severities, stability
from adsr_hf.evaluation.fingerprints import DataFacts

# A released version says what its code is; one that is worked on does not.
_DECIDING_CODE = (
    *(adsr_hf.attacks, adsr_hf.networks),
    *(corruptions, driver, severities, stability),
)
_DECIDING_PACKAGES = ("adsr_hf", "torch", "transformers", "numpy", "pillow", "pyautoattack")
_NOT_THE_NETWORK = ("_name_or_path", "transformers_version", "id2label", "label2id")
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def journal_key(
    model: nn.Module,
    fingerprint: str,
    facts: DataFacts,
    pixel_space: PixelSpace,
    *,
    threats: Sequence[str],
    attacks: Sequence[Mapping[str, Any]],
    seed: int,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """What decides how each image fares, as JSON values. Batch size and number of processes do not.

    Args:
        fingerprint: of the model's weights; its structure is read here, for equal weights may be computed with in
            other ways, such as with another number of attention heads.
        attacks: names and settings, in order.
        versions: of all packages.
    """
    device = next(model.parameters()).device.type
    return {
        "weights": fingerprint,
        "structure": _structure(model),
        "data": facts.fingerprint,
        "image_shape": list(facts.image_shape),
        "pixel_space": asdict(pixel_space),
        "threats": list(threats),
        "attacks": [dict(attack) for attack in attacks],
        "seed": seed,
        "versions": {name: versions[name] for name in _DECIDING_PACKAGES if name in versions},
        "code": _code(),
        "device": device,
        "precision": [
            torch.is_autocast_enabled(device),
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
        ],
    }


def _structure(model: nn.Module) -> str:
    config: dict[str, Any] = {}
    if isinstance(model, PreTrainedModel):
        config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_THE_NETWORK}
        config["attention"] = model.config._attn_implementation
    described = _ADDRESS.sub("", repr(model)) + json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()


def _code() -> str:
    digest = hashlib.sha256()
    for module in _DECIDING_CODE:
        path = Path(str(module.__file__))
        for source in sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]:
            digest.update(source.read_bytes())
    return digest.hexdigest()
