"""Everything that two runs must have in common to count as the same run, bit by bit."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.records.folder_lock import LOCK_FILE

# Clocks, and the summary of one call of train(), which covers other steps after a resume.
_TIMINGS = ("runtime", "per_second", "preparation_time")


class Crash(RuntimeError):
    """What a test raises where a machine would have died."""


class CrashAfter(TrainerCallback):
    """Dies at the end of a step, before anything of it is logged, evaluated or saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Crash(f"step {self.step}")


def snapshot(trainer: ADSRTrainer) -> dict[str, Any]:
    """Weights, optimizer, schedule, generators and logged figures of a run, copied."""
    state = {
        "student": dict(trainer.model.state_dict()),
        "teacher": trainer.teacher.state_dict() if trainer.teacher is not None else None,
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": trainer.lr_scheduler.state_dict(),
        "attack_generator": trainer.run.method_step.attack.generator.get_state(),
        "global_step": trainer.state.global_step,
        "best": (trainer.state.best_metric, trainer.state.best_global_step),
        "log": without_timings(trainer.state.log_history),
    }
    return copy.deepcopy(state)


def without_timings(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Logged lines without what depends on the clock."""
    return [
        {name: value for name, value in line.items() if not any(timing in name for timing in _TIMINGS)}
        for line in history
        if "train_runtime" not in line
    ]


def assert_identical(found: Any, expected: Any, where: str = "run") -> None:
    """Equal to the last bit, with the path of the first difference."""
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert torch.equal(found, expected), f"{where} differs by {(found.double() - expected.double()).abs().max()}"
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_identical(found[name], value, f"{where}.{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_identical(found[index], value, f"{where}[{index}]")
    else:
        assert found == expected, f"{where}: {found!r} != {expected!r}"


def digest_of(state: dict[str, torch.Tensor]) -> str:
    """sha256 over names and bytes of tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def tree_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with its sha256, but for the lock, which stays behind and says nothing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def as_json(value: Any) -> str:
    """Text that is equal where floats are equal to the last bit."""
    return json.dumps(value, sort_keys=True)
