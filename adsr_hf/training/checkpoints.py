"""Checkpoints that are whole or refused, and that give back exactly the weights that were saved."""

import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from adsr_hf.fine_tuning.lora import raw_state
from adsr_hf.networks.modes import forget_derived_tensors
from adsr_hf.networks.pretrained import CANNOT_BE_LOADED, PretrainedError, refuse_pickles, refuse_unsafe
from adsr_hf.records.disk_errors import write_errors_name
from adsr_hf.records.files import file_sha256, sync_folder, sync_tree, write_json

MANIFEST_FILE = "manifest.json"
TEACHER_FILE = "teacher.safetensors"
STUDENT_FILE = "student.safetensors"
RUN_FILE = "adsr_run.json"
PROCESS_FILE = "process_{index}.safetensors"

SCHEMA_VERSION = 1

_CHECKPOINT_FOLDER = re.compile(r"^checkpoint-(\d{1,18})$", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Files that continuing a run reads where they are there.
_READ_ON_RESUMING = re.compile(
    r"trainer_state\.json|adsr_run\.json|config\.json|adapter_config\.json|(optimizer|scheduler|scaler)\.(pt|bin)"
    r"|rng_state.*\.pth|(model|pytorch_model|adapter_model|teacher|student|process_).*\.(safetensors|bin|json)"
)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used: cut short, damaged, or made by another run."""


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
            raise CheckpointError(_damaged(checkpoint, f"{path.name} is there, but not in {MANIFEST_FILE}"))
    for name, (expected_size, expected_sha256) in listed.items():
        path = checkpoint / name
        size = path.stat().st_size if path.is_file() else None
        if size != expected_size:
            found = "is missing" if size is None else f"has {size} bytes instead of {expected_size}"
            raise CheckpointError(_damaged(checkpoint, f"{name} {found}"))
        if file_sha256(path) != expected_sha256:
            raise CheckpointError(_damaged(checkpoint, f"{name} has another sha256 than when it was written"))


def _read_manifest(checkpoint: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and sha256 of each file, by its path in the checkpoint."""
    try:
        manifest = json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))
        version, files = manifest["schema_version"], manifest["files"]
        listed = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(_damaged(checkpoint, f"{MANIFEST_FILE} cannot be read")) from error
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"checkpoint {checkpoint} has a {MANIFEST_FILE} of schema {version!r}, and this version reads "
            f"{SCHEMA_VERSION}"
        )
    for name, (size, sha256) in listed.items():
        inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if not inside or type(size) is not int or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise CheckpointError(_damaged(checkpoint, f"{MANIFEST_FILE} has an impossible entry for {name!r}"))
    return listed


def steps_of(name: str) -> int | None:
    """Optimizer steps of a run at a checkpoint, which its folder's name says; None for another name."""
    match = _CHECKPOINT_FOLDER.match(name)
    return int(match[1]) if match else None


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Folders ``checkpoint-N`` of a run, fewest steps first: clocks may be set back."""
    if not output_dir.is_dir():
        return []
    found = [path for path in output_dir.iterdir() if path.is_dir() and steps_of(path.name) is not None]
    return sorted(found, key=lambda path: steps_of(path.name) or 0)


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


def load_weights(model: nn.Module, checkpoint: Path) -> None:
    """Load ``model.safetensors`` (or its shards) of a checkpoint into ``model``, exactly.

    ``save_pretrained`` writes the names of the published format, which for ViT and others differ from the module's
    own, so that a plain ``load_state_dict`` skips them with a mere warning. ``from_pretrained`` knows the conversion.

    Raises:
        CheckpointError: when a weight is missing, unexpected, of another shape, the file is damaged, or one beside it
            names code or weights from elsewhere.
    """
    if not isinstance(model, PreTrainedModel):
        # Trainer saves such a module's state under its own names.
        load_raw_weights(model, checkpoint / SAFE_WEIGHTS_NAME)
        return
    try:
        refuse_unsafe(checkpoint)
        refuse_pickles(checkpoint)
        restored, report = type(model).from_pretrained(
            checkpoint,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except PretrainedError as error:
        raise CheckpointError(str(error)) from error
    except CANNOT_BE_LOADED as error:
        raise CheckpointError(_damaged(checkpoint, str(error))) from error
    problems = {kind: sorted(map(str, keys)) for kind, keys in report.items() if keys and kind != "error_msgs"}
    if problems or report.get("error_msgs"):
        raise CheckpointError(f"checkpoint {checkpoint} does not fit {type(model).__name__}: {problems or report}")
    _copy_state(model, restored.state_dict(), checkpoint)


def load_raw_weights(model: nn.Module, path: Path) -> None:
    """Load tensors saved under the module's own names into ``model``, exactly.

    Raises:
        CheckpointError: when a weight is missing, unexpected, of another shape, or the file is damaged.
    """
    _copy_state(model, load_tensors(path), path.parent)


def save_tensors(path: Path, state: dict[str, Tensor]) -> None:
    """Save raw tensors under a module's own names.

    Raises:
        WriteError: when the file cannot be written.
    """
    with write_errors_name(path):
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Load tensors written by :func:`save_tensors`.

    Raises:
        CheckpointError: when the file is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {path.parent} has no {path.name}, which this run needs to continue; it was saved with "
            "save_only_model=True or by a run with other settings. Start a new run from its model.safetensors instead"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(_damaged(path.parent, f"{path.name}: {error}")) from error


def check_finite(model: nn.Module, step: int) -> None:
    """Refuse to save weights that training has destroyed.

    Raises:
        FloatingPointError: when a parameter holds NaN or infinity.
    """
    finite = torch.stack([parameter.detach().isfinite().all() for parameter in model.parameters()])
    if not finite.all():
        raise FloatingPointError(
            f"the weights hold NaN or infinity at step {step}; nothing was saved, earlier checkpoints are untouched. "
            "Lower learning_rate, or set max_grad_norm=1.0"
        )


def _copy_state(model: nn.Module, state: dict[str, Tensor], checkpoint: Path) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in raw_state(model).items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if own != found:
        # torch would copy what fits before it complains.
        differing = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
        shapes = "; ".join(f"{name} is {found.get(name)}, expected {own.get(name)}" for name in differing[:3])
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit {type(model).__name__}: {shapes} ({len(differing)} in all). Build "
            "the model with the config that the checkpoint holds"
        )
    model.load_state_dict(state, strict=False)
    forget_derived_tensors(model)


def _damaged(checkpoint: Path, detail: str) -> str:
    return f"checkpoint {checkpoint} is damaged: {detail}"
