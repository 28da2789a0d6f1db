"""The model that stays, or would be returned to: named by place and content, and put back from there."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from adsr_hf.decision.arms import Member

# What an inference server loads. Training state is not part of a rollback.
_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "config.json", "preprocessor_config.json")
_TRAINING_ONLY = ("teacher.safetensors", "student.safetensors")


class RollbackError(RuntimeError):
    """A model that cannot be put back: gone, changed, or a target that holds something else."""


@dataclass(frozen=True)
class RollbackPoint:
    """A model's place and content.

    Attributes:
        path: absolute, of a local folder; None for a Hub model.
        hub_name, revision: of a Hub model, with its commit; None for a local one.
        sha256: of every file.
        model_sha256: over all of them, names included.
    """

    path: str | None
    hub_name: str | None
    revision: str | None
    sha256: dict[str, str]
    model_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def rollback_point(member: Member) -> RollbackPoint:
    """Where the model of an evaluation is, and what its files hold.

    Raises:
        RollbackError: when neither a folder nor a downloaded Hub revision is at hand.
    """
    if member.checkpoint is not None:
        hashes = model_files(member.checkpoint)
        return RollbackPoint(str(member.checkpoint.resolve()), None, None, hashes, combined(hashes))
    model = member.records.summary["model"]
    if not model.get("revision"):
        raise RollbackError(
            f"the model of {member.folder} ({model['source']}) is neither a folder that exists nor a Hub model of a "
            "known commit, so that nothing could be rolled back to; keep its checkpoint, or evaluate it from the Hub"
        )
    hashes = model_files(_downloaded(model["source"], model["revision"], local_files_only=True))
    return RollbackPoint(None, model["source"], model["revision"], hashes, combined(hashes))


def restore(point: Mapping[str, Any], target: Path) -> bool:
    """Put the model of a rollback point into ``target``; False when it is there already.

    The files are copied beside the target and checked before they take its place, so that a crash leaves the old or
    the new model, never half of one.

    Raises:
        RollbackError: when the source is gone or changed, or ``target`` holds something that is no model.
    """
    wanted = dict(point["sha256"])
    if target.is_dir() and any(target.iterdir()):
        if not (target / "config.json").is_file():
            raise RollbackError(f"{target} is not a model's folder (it has no config.json); name the folder you serve")
        if model_files(target) == wanted:
            return False
    source = _source(point)
    _check(source, wanted, "has changed since the decision")
    target = target.absolute()
    partial = target.with_name(f".{target.name}.rollback")
    replaced = target.with_name(f".{target.name}.replaced")
    for leftover in (partial, replaced) if target.exists() else (partial,):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in wanted:
        shutil.copyfile(source / name, partial / name)
    _check(partial, wanted, "was not copied whole")
    if target.exists():
        target.rename(replaced)
    partial.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
    return True


def model_files(folder: Path) -> dict[str, str]:
    """sha256 of each file that inference needs, by name."""
    names = sorted({path.name for pattern in _PATTERNS for path in folder.glob(pattern)} - set(_TRAINING_ONLY))
    return {name: _sha256(folder / name) for name in names}


def combined(hashes: Mapping[str, str]) -> str:
    """One hash over all files and their names."""
    return hashlib.sha256("\n".join(f"{name} {own}" for name, own in sorted(hashes.items())).encode()).hexdigest()


def _source(point: Mapping[str, Any]) -> Path:
    if point["path"] is not None:
        return Path(point["path"])
    return _downloaded(point["hub_name"], point["revision"], local_files_only=False)


def _downloaded(name: str, revision: str, *, local_files_only: bool) -> Path:
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(_PATTERNS), local_files_only=local_files_only
        )
    except (OSError, ValueError) as error:
        raise RollbackError(f"{name} at {revision} cannot be had: {error}") from error
    return Path(folder)


def _check(folder: Path, wanted: Mapping[str, str], what: str) -> None:
    if not folder.is_dir():
        raise RollbackError(f"the model to return to, {folder}, is gone; restore that folder from a backup")
    found = model_files(folder)
    differing = sorted(name for name in wanted if found.get(name) != wanted[name])
    if differing:
        raise RollbackError(
            f"{folder} {what}: {', '.join(differing)} do(es) not have the sha256 of the decision; nothing was replaced"
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
