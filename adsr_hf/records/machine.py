"""What a run ran on: the machine in words, to stand beside every time that is reported, and its processes."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from accelerate import PartialState

from adsr_hf._version import __version__

PACKAGES = ("torch", "transformers", "accelerate", "datasets")


def describe_machine() -> str:
    """``"AMD EPYC, 2 cores, CPU, torch 2.13.0"``, with the GPU's name where there is one."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{_processor()}, {os.cpu_count()} cores, {accelerator}, torch {torch.__version__}"


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """This package's version and those of others, without what is not installed.

    This one's is its own, since from a checkout that was never installed there are no metadata to read.
    """
    found = {"adsr_hf": __version__}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def compute_device() -> torch.device:
    """This process's accelerator; the CPU where there is none, also under a build of torch for one."""
    return process_state().device if torch.accelerator.is_available() else torch.device("cpu")


def process_state() -> PartialState:
    """Which of the launched processes this is, on the CPU where there is nothing else."""
    return PartialState(cpu=not torch.accelerator.is_available())
