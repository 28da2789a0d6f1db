"""Whether a run that is continued is the run of its checkpoint, and what differs on purpose."""

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from adsr_hf.networks.weights import CheckpointError
from adsr_hf.settings.method import MethodArguments
from adsr_hf.training.checkpoints import RUN_FILE

# In a checkpoint's record of its run, beside the settings.
SCHEDULE_STEPS, CHANGES = "schedule_steps", "changes"

LENGTH = frozenset({"total_steps"})
BATCHES = frozenset({"total_train_batch_size", "data_seed", "train_sampling_strategy", "dataloader_drop_last"})

_WAYS_ON = (
    (LENGTH, "resumed_schedules='hold' or 'stretch' says what the schedules do with another length"),
    (BATCHES, "resume_with_other_batches=True continues with other batches"),
)


def saved_run(checkpoint: Path) -> dict[str, Any]:
    """What the checkpoint says about its run.

    Raises:
        CheckpointError: when it says nothing.
    """
    path = checkpoint / RUN_FILE
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {checkpoint} has no {RUN_FILE}: it was not written by ADSRTrainer. To start from its "
            "weights, load the model with from_pretrained and train without resume_from_checkpoint"
        )
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # A checkpoint of an earlier version was trained with the defaults of what came later.
    return {field.name: field.default for field in fields(MethodArguments)} | saved


def check_same_run(
    checkpoint: Path, settings: Mapping[str, Any], *, may_differ: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Refuse to continue a run under other settings of the method, which would mix two experiments silently.

    Args:
        checkpoint: to continue from.
        settings: of the run that continues it, as JSON values.
        may_differ: names of settings that may.

    Returns:
        the differences, each with ``setting``, ``was`` and ``now``.

    Raises:
        CheckpointError: naming each other setting that differs, with both values.
    """
    saved = saved_run(checkpoint)
    differing = [
        {"setting": name, "was": saved.get(name), "now": value}
        for name, value in settings.items()
        if saved.get(name) != value
    ]
    refused = [difference for difference in differing if difference["setting"] not in may_differ]
    if refused:
        names = {difference["setting"] for difference in refused}
        ways_on = "".join(f"; {way}" for settings_of, way in _WAYS_ON if names & settings_of)
        raise CheckpointError(
            f"checkpoint {checkpoint} belongs to a run with other settings: {in_words(refused)}. Set them back, or "
            f"start a new run in another output_dir{ways_on}"
        )
    return differing


def in_words(differing: list[dict[str, Any]]) -> str:
    """Each setting with both values."""
    return "; ".join(
        f"{difference['setting']} was {difference['was']!r} and is now {difference['now']!r}"
        for difference in differing
    )
