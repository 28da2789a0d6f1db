"""The model that stays, or would be returned to: named by place and content, and put back from there."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from adsr_hf.decision.arms import Member
from adsr_hf.evaluation.fingerprints import MODEL_PATTERNS, model_files


class RollbackError(RuntimeError):
    """A model that cannot be put back: gone, changed, or a target that holds something else."""


@dataclass(frozen=True)
class RollbackPoint:
    """A model's place and content.

    Attributes:
        path: absolute, of a local folder; None for a Hub model.
        hub_name, revision: of a Hub model, with its commit; None for a local one.
        sha256: of every file that inference needs.
        model_sha256: over all of them, names included.
    """

    path: str | None
    hub_name: str | None
    revision: str | None
    sha256: Mapping[str, str]
    model_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "RollbackPoint":
        """Read back what :meth:`as_dict` gave.

        Raises:
            RollbackError: when something is missing, or no weights are among the files.
        """
        try:
            point = cls(**values)
            whole = combined(point.sha256) == point.model_sha256 and (point.path or point.revision)
        except (TypeError, AttributeError) as error:
            raise RollbackError(f"it is not a rollback point of adsr gate: {error}") from error
        if not whole:
            raise RollbackError("it is not a rollback point of adsr gate: its hashes do not fit each other")
        _check_weights(point.sha256, "the rollback point")
        return point


def rollback_point(member: Member) -> RollbackPoint:
    """Where the model of an evaluation is, and what its files hold.

    Raises:
        RollbackError: when neither a folder nor a downloaded Hub revision with safetensors weights is at hand.
    """
    model = member.records.summary["model"]
    if member.why_not_shippable is not None:
        raise RollbackError(member.why_not_shippable)
    if member.checkpoint is not None:
        hashes = model_files(member.checkpoint)
        _check_weights(hashes, str(member.checkpoint))
        return RollbackPoint(str(member.checkpoint.resolve()), None, None, hashes, combined(hashes))
    if not model.get("revision"):
        raise RollbackError(
            f"the model of {member.folder} ({model['source']}) is neither a folder that exists nor a Hub model of a "
            "known commit, so that nothing could be rolled back to; keep its checkpoint, or evaluate it from the Hub"
        )
    hashes = model_files(_downloaded(model["source"], model["revision"], local_files_only=True))
    _check_weights(hashes, model["source"])
    return RollbackPoint(None, model["source"], model["revision"], hashes, combined(hashes))


def restore(point: RollbackPoint, target: Path) -> bool:
    """Put the model of a rollback point into ``target``; False when it is there already.

    The files are copied beside the target and checked before they take its place; what else the target holds is kept.
    A crash leaves the old model, the new one, or, between two renames, the old one in ``.NAME.replaced``, from where
    the next call goes on.

    Raises:
        RollbackError: when the source is gone or changed, lies inside ``target`` or around it, or ``target`` holds
            something that is no model.
    """
    # A link to the served folder stays a link.
    target = target.resolve()
    partial, replaced = (target.with_name(f".{target.name}.{what}") for what in ("rollback", "replaced"))
    _finish_interrupted(target, replaced)
    _check_target(target)
    if target.is_dir() and model_files(target) == dict(point.sha256):
        return False
    source = _source(point).resolve()
    if source != target and (source.is_relative_to(target) or target.is_relative_to(source)):
        raise RollbackError(f"{source} and {target} lie inside each other; serve the model from a folder of its own")
    _check_source(source, point.sha256, "has changed since the decision")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in point.sha256:
        _copy(source / name, partial / name)
    _check_source(partial, point.sha256, "was not copied whole")
    if target.exists():
        target.rename(replaced)
    partial.rename(target)
    _finish_interrupted(target, replaced)
    return True


def combined(hashes: Mapping[str, str]) -> str:
    """One hash over all files and their names."""
    return hashlib.sha256("\n".join(f"{name} {own}" for name, own in sorted(hashes.items())).encode()).hexdigest()


def _finish_interrupted(target: Path, replaced: Path) -> None:
    """Bring what a replaced folder holds beside its model into the new one, and remove it."""
    if not replaced.is_dir():
        return
    if not target.exists():
        replaced.rename(target)
        return
    old_model = model_files(replaced)
    for entry in list(replaced.iterdir()):
        if entry.name not in old_model and not (target / entry.name).exists():
            entry.rename(target / entry.name)
    shutil.rmtree(replaced)


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise RollbackError(f"{target} is a file; name the folder that the model is served from")
    if target.is_dir() and any(target.iterdir()) and not (target / "config.json").is_file():
        raise RollbackError(f"{target} is not a model's folder (it has no config.json); name the folder you serve")


def _check_weights(hashes: Mapping[str, str], what: str) -> None:
    if not any(name.endswith(".safetensors") for name in hashes) or "config.json" not in hashes:
        raise RollbackError(
            f"{what} has no config.json with safetensors weights, so that it cannot be returned to; save the model "
            "with save_pretrained, which writes them"
        )


def _source(point: RollbackPoint) -> Path:
    if point.path is not None:
        return Path(point.path)
    assert point.hub_name is not None
    assert point.revision is not None
    return _downloaded(point.hub_name, point.revision, local_files_only=False)


def _downloaded(name: str, revision: str, *, local_files_only: bool) -> Path:
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(MODEL_PATTERNS), local_files_only=local_files_only
        )
    except (OSError, ValueError) as error:
        raise RollbackError(f"{name} at {revision} cannot be had: {error}") from error
    return Path(folder)


def _check_source(folder: Path, wanted: Mapping[str, str], what: str) -> None:
    if not folder.is_dir():
        raise RollbackError(f"the model to return to, {folder}, is gone; restore that folder from a backup")
    found = model_files(folder)
    differing = sorted(name for name in wanted if found.get(name) != wanted[name])
    if differing:
        raise RollbackError(
            f"{folder} {what}: {', '.join(differing)} do(es) not have the sha256 of the decision; nothing was replaced"
        )


def _copy(source: Path, destination: Path) -> None:
    shutil.copyfile(source, destination)
    with open(destination, "rb") as file:
        os.fsync(file.fileno())
