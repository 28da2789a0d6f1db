"""Checkpoints that are whole or refused, and that give back exactly the weights that were saved."""

import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from adsr_hf.networks.weights import CheckpointError, damaged
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.records.files import file_sha256, sync_folder, sync_tree, write_json

MANIFEST_FILE = "manifest.json"
RUN_FILE = "adsr_run.json"
PROCESS_FILE = "process_{index}.safetensors"

SCHEMA_VERSION = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Files that continuing a run reads where they are there.
_READ_ON_RESUMING = re.compile(
    r"trainer_state\.json|adsr_run\.json|config\.json|adapter_config\.json|(optimizer|scheduler|scaler)\.(pt|bin)"
    r"|rng_state.*\.pth|(model|pytorch_model|adapter_model|teacher|student|process_).*\.(safetensors|bin|json)"
)


def begin_checkpoint(checkpoint: Path, settings: dict[str, Any]) -> None:
    """Make an empty folder for a checkpoint, with the run's settings in it.

    Its files come next, and :func:`seal_checkpoint` last. The settings tell an unfinished checkpoint from one that
    somebody else wrote.
    """
    if checkpoint.exists():
        # Cut short earlier, or left by a longer run: no file of it may end up in the new manifest.
        remove_checkpoint(checkpoint)
    write_json(checkpoint / RUN_FILE, settings)


def seal_checkpoint(checkpoint: Path) -> None:
    """Make a checkpoint count, once all that belongs to it has reached the disk, whatever happens from then on."""
    sync_tree(checkpoint)
    write_manifest(checkpoint)


def write_manifest(checkpoint: Path) -> None:
    """Write down every file's size and sha256. Written last: a folder without it is unfinished."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    entries = {
        path.relative_to(checkpoint).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in files
    }
    write_json(checkpoint / MANIFEST_FILE, {"schema_version": SCHEMA_VERSION, "files": entries})


def verify_checkpoint(checkpoint: Path) -> None:
    """Check a checkpoint against its manifest.

    Raises:
        CheckpointError: when it is unfinished, a file is missing, cut short or changed, or one that would be read was
            added.
    """
    if not checkpoint.is_dir():
        raise CheckpointError(f"checkpoint {checkpoint} does not exist")
    if not (checkpoint / MANIFEST_FILE).is_file():
        raise CheckpointError(
            f"checkpoint {checkpoint} has no {MANIFEST_FILE}: it was not finished, or not written by adsr_hf"
        )
    listed = _read_manifest(checkpoint)
    for path in sorted(checkpoint.iterdir()):
        if _READ_ON_RESUMING.fullmatch(path.name) and path.name not in listed:
            raise CheckpointError(damaged(checkpoint, f"{path.name} is there, but not in {MANIFEST_FILE}"))
    for name, (expected_size, expected_sha256) in listed.items():
        path = checkpoint / name
        size = path.stat().st_size if path.is_file() else None
        if size != expected_size:
            found = "is missing" if size is None else f"has {size} bytes instead of {expected_size}"
            raise CheckpointError(damaged(checkpoint, f"{name} {found}"))
        if file_sha256(path) != expected_sha256:
            raise CheckpointError(damaged(checkpoint, f"{name} has another sha256 than when it was written"))


def _read_manifest(checkpoint: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and sha256 of each file, by its path in the checkpoint."""
    try:
        manifest = json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))
        version, files = manifest["schema_version"], manifest["files"]
        listed = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(damaged(checkpoint, f"{MANIFEST_FILE} cannot be read")) from error
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"checkpoint {checkpoint} has a {MANIFEST_FILE} of schema {version!r}, and this version reads "
            f"{SCHEMA_VERSION}"
        )
    for name, (size, sha256) in listed.items():
        inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if not inside or type(size) is not int or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise CheckpointError(damaged(checkpoint, f"{MANIFEST_FILE} has an impossible entry for {name!r}"))
    return listed


def remove_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint; cut off half-way, it is an unfinished one."""
    (checkpoint / MANIFEST_FILE).unlink(missing_ok=True)
    sync_folder(checkpoint)
    for path in checkpoint.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != RUN_FILE:
            path.unlink()
    shutil.rmtree(checkpoint)


def rotate_checkpoints(run_dir: Path, limit: int | None, keep: set[str]) -> None:
    """Delete unfinished and then old checkpoints until ``limit`` are left, as Trainer does without the first.

    Args:
        run_dir: folder of the checkpoints.
        limit: how many may stay; None for all.
        keep: names of folders that stay in any case: the newest, which must be whole, and the best.
    """
    if limit is None or limit <= 0:
        return
    folders = sorted(checkpoint_folders(run_dir), key=lambda folder: (folder / MANIFEST_FILE).is_file())
    removable = [folder for folder in folders if folder.name not in keep]
    for folder in removable[: max(len(folders) - limit, 0)]:
        remove_checkpoint(folder)


def number_of_processes(checkpoint: Path) -> int:
    """How many processes wrote the checkpoint."""
    return len(list(checkpoint.glob(PROCESS_FILE.format(index="*"))))
