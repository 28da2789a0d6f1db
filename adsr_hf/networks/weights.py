"""Weights in files: raw tensors under a module's own names, and what `save_pretrained` writes, given back exactly."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from adsr_hf.networks.adapted import raw_state
from adsr_hf.networks.modes import forget_derived_tensors
from adsr_hf.networks.pretrained import CANNOT_BE_LOADED, PretrainedError, refuse_pickles, refuse_unsafe
from adsr_hf.records.disk_errors import write_errors_name

TEACHER_FILE = "teacher.safetensors"
STUDENT_FILE = "student.safetensors"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used: cut short, damaged, or made by another run."""


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
        raise CheckpointError(damaged(checkpoint, str(error))) from error
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
        raise CheckpointError(damaged(path.parent, f"{path.name}: {error}")) from error


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
    expected = {name: tuple(tensor.shape) for name, tensor in raw_state(model).items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        # torch would copy what fits before it complains.
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        shapes = "; ".join(f"{name} is {found.get(name)}, expected {expected.get(name)}" for name in differing[:3])
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit {type(model).__name__}: {shapes} ({len(differing)} in all). Build "
            "the model with the config that the checkpoint holds"
        )
    model.load_state_dict(state, strict=False)
    forget_derived_tensors(model)


def damaged(checkpoint: Path, detail: str) -> str:
    return f"checkpoint {checkpoint} is damaged: {detail}"
