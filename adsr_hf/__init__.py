"""Adversarially robust, calibrated image classifiers with the Hugging Face Trainer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adsr_hf._version import __version__

if TYPE_CHECKING:
    from adsr_hf.config import ADSRConfig
    from adsr_hf.trainer import ADSRTrainer

# Imported on first use, so that `import adsr_hf` and `adsr --help` do not wait for torch.
_HOMES = {"ADSRConfig": "adsr_hf.config", "ADSRTrainer": "adsr_hf.trainer"}
# Modules that stood here before.
_FORMER = {
    "schedules": "adsr_hf.method.schedules",
    "targets": "adsr_hf.method.targets",
    "teacher": "adsr_hf.method.teacher",
}

__all__ = ["ADSRConfig", "ADSRTrainer", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _FORMER:
        return import_module(_FORMER[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
