"""Checkpoints of a run: written whole or not at all, and read back bit for bit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import logging

from adsr_hf.config import ADSRConfig
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.adapted import is_adapted, raw_state
from adsr_hf.networks.classifier import bare_copy
from adsr_hf.networks.weights import (
    STUDENT_FILE,
    TEACHER_FILE,
    CheckpointError,
    check_finite,
    load_raw_weights,
    load_tensors,
    load_weights,
    save_tensors,
)
from adsr_hf.records.disk_errors import write_errors_name
from adsr_hf.settings.temporary import temporarily
from adsr_hf.training.checkpoints import (
    PROCESS_FILE,
    begin_checkpoint,
    number_of_processes,
    rotate_checkpoints,
    seal_checkpoint,
)

logger = logging.get_logger(__name__)

_KEPT = "Checkpoints that were finished are untouched"


class Stateful(Protocol):
    """What must survive a restart."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its state, as tensors under names that no other part uses."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore it from a mapping that holds these names among others."""


@dataclass(frozen=True)
class Part:
    """A stateful part of a run.

    Attributes:
        name: of the part, for messages.
        holder: has the state.
        shared: whether the state is the same in every process, so that any number of processes may restore it.
    """

    name: str
    holder: Stateful
    shared: bool = False


@dataclass(frozen=True)
class StateOf:
    """A part whose state lives elsewhere: two functions that read and write it."""

    state_dict: Callable[[], Mapping[str, Tensor]]
    load_state_dict: Callable[[dict[str, Tensor]], None]


class Checkpointer:
    """Writes and reads what a checkpoint holds beside Trainer's own files.

    Every file is on disk before the manifest is, and older checkpoints go only then: whenever a run is cut off, by a
    kill, a full disk or a power cut, the newest checkpoint with a manifest is whole.

    Attributes:
        last: the newest checkpoint that this run has sealed.

    Args:
        args: the run's settings.
        accelerator: makes processes wait for each other.
        parts: what else must survive a restart; nothing but their names and states is known here.
    """

    def __init__(self, args: ADSRConfig, *, accelerator: Accelerator, parts: Sequence[Part]) -> None:
        self._args, self._accelerator, self._parts = args, accelerator, tuple(parts)
        self.last: Path | None = None

    def has_saved(self, step: int) -> bool:
        """Whether the newest checkpoint is of this optimizer step."""
        return self.last is not None and self.last.name == f"checkpoint-{step}"

    # ---- writing -------------------------------------------------------------------------------------------------

    @contextmanager
    def sealing(self, checkpoint: Path, record: Mapping[str, Any], model: nn.Module, *, step: int) -> Iterator[None]:
        """Let Trainer write its files into a folder that counts as a checkpoint once this is over.

        Args:
            checkpoint: the folder.
            record: what it says about its run, as JSON values.
            model: the bare model.
            step: optimizer steps taken.

        Raises:
            FloatingPointError: when the weights hold NaN or infinity.
            WriteError: when a file cannot be written.
        """
        check_finite(model, step)
        with write_errors_name(checkpoint, kept=_KEPT):
            if self._args.should_save:
                begin_checkpoint(checkpoint, dict(record))
            self._accelerator.wait_for_everyone()
            # Older checkpoints go, and the new one is pushed, only once it is sealed.
            with temporarily(self._args, save_total_limit=None, push_to_hub=False):
                yield
            self._accelerator.wait_for_everyone()
            if self._args.should_save:
                if is_adapted(model):
                    save_tensors(checkpoint / STUDENT_FILE, raw_state(model))
                torch.save(self._args, checkpoint / TRAINING_ARGS_NAME)
                seal_checkpoint(checkpoint)

    def rotate(self, checkpoint: Path, best: str | None) -> None:
        """Delete older checkpoints than the one just sealed, but not the best; then every process goes on."""
        if self._args.should_save:
            keep = {checkpoint.name, Path(best or checkpoint).name}
            rotate_checkpoints(checkpoint.parent, self._args.save_total_limit, keep)
        # The others may want to load it, or end the run, as soon as they go on.
        self._accelerator.wait_for_everyone()
        self.last = checkpoint

    def save_networks(self, checkpoint: Path, model: nn.Module, teacher: EMATeacher | None) -> None:
        """Write the teacher, and the student where the teacher is published in its place."""
        if not self._args.should_save or teacher is None:
            return
        save_tensors(checkpoint / TEACHER_FILE, teacher.state_dict())
        if self._args.publish == "teacher":
            save_tensors(checkpoint / STUDENT_FILE, raw_state(model))

    def save_parts(self, checkpoint: Path) -> None:
        """Write what is in no other file, and this process alone knows."""
        state: dict[str, Tensor] = {}
        for part in self._parts:
            found = part.holder.state_dict()
            if repeated := state.keys() & found.keys():
                raise ValueError(f"part {part.name!r} saves under names that another part uses: {sorted(repeated)}")
            state |= found
        save_tensors(self._process_file(checkpoint), state)

    @contextmanager
    def saving(self, folder: str | None, model: nn.Module, *, step: int) -> Iterator[None]:
        """Refuse weights that training has destroyed, and say of which folder it is that nothing can be written."""
        check_finite(model, step)
        with write_errors_name(Path(folder or str(self._args.output_dir)), kept=_KEPT):
            yield

    # ---- reading -------------------------------------------------------------------------------------------------

    def load_student(self, checkpoint: Path, model: nn.Module) -> None:
        """Give the bare model the student's weights of a checkpoint, exactly."""
        raw = checkpoint / STUDENT_FILE
        if raw.is_file():
            load_raw_weights(model, raw)
        else:
            load_weights(model, checkpoint)

    def load_teacher(self, checkpoint: Path, teacher: EMATeacher | None) -> None:
        """Give the teacher, where there is one, its weights of a checkpoint."""
        if teacher is not None:
            teacher.load_state_dict(load_tensors(checkpoint / TEACHER_FILE))

    def load_parts(self, checkpoint: Path) -> None:
        """Restore the parts; with another number of processes those alone that are the same in each."""
        before, now = number_of_processes(checkpoint), self._args.world_size
        if before != now:
            logger.warning(
                f"{checkpoint} was saved by {before} process(es) and is continued by {now}: random starts and the "
                "next log line will differ from those of an uninterrupted run"
            )
            state = load_tensors(checkpoint / PROCESS_FILE.format(index=0))
        else:
            state = load_tensors(self._process_file(checkpoint))
        for part in self._parts:
            if part.shared or before == now:
                part.holder.load_state_dict(state)

    def _process_file(self, checkpoint: Path) -> Path:
        return checkpoint / PROCESS_FILE.format(index=self._args.process_index)


def network_to_save(
    model: nn.Module, teacher: nn.Module | None, state: dict[str, Tensor] | None
) -> tuple[nn.Module, dict[str, Tensor] | None]:
    """The network whose class and config are saved, and the weights, None for its own.

    Args:
        model: the bare model; adapters are merged, so that what is saved loads without PEFT.
        teacher: where its weights are published; they are saved in the dtypes of the model's.
        state: weights that are given already.
    """
    if state is None and teacher is not None:
        dtypes = {name: value.dtype for name, value in model.state_dict().items()}
        state = {name: value.to(dtypes[name]) for name, value in teacher.state_dict().items()}
    if not is_adapted(model):
        return model, state
    network: Any = bare_copy(model)
    if state is not None:
        network.load_state_dict(state)
    return network.merge_and_unload(), None


@contextmanager
def unreadable_files_name(checkpoint: str | None, what: str) -> Iterator[None]:
    """Say of which checkpoint Trainer could not read a file: one made by hand, or by another network or optimizer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError) as error:
        if checkpoint is None:
            raise
        # torch would advise to load it without its safeguards.
        why = "it holds more than numbers" if isinstance(error, UnpicklingError) else str(error).splitlines()[0]
        raise CheckpointError(
            f"checkpoint {checkpoint} cannot be continued: {what} does not fit this run: {why}. Start a new run from "
            "its weights with from_pretrained, in another output_dir"
        ) from error
