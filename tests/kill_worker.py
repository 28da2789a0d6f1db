"""Kills a training at random instants of its checkpoints: ``python -m tests.kill_worker FOLDER KILLS SEED``.

One process imports everything and forks each attempt, so that a kill costs tenths of a second. It prints, as JSON,
what the last attempt ended with, what an undisturbed run ends with, and in how many kills a checkpoint was cut short.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.training.checkpoints import verify_checkpoint
from adsr_hf.training.run_folder import find_checkpoint, refuse_used_folder
from tests.snapshots import digest_of
from tests.tiny import tiny_trainer

CONFIG: dict[str, Any] = {
    "max_steps": 30,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 1,
    "logging_strategy": "no",
    "attack_steps": 1,
    "learning_rate": 3e-3,
}


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    randomness = random.Random(seed)
    run, cut, done = folder / "run", 0, 0
    while done < kills:
        process = _forked(lambda: _train(run, folder / "digest"))
        if not _wait_for_a_checkpoint(run, process):
            break
        time.sleep(randomness.uniform(0, 0.02))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        done += 1
        cut += _is_sound(run)
    for target in (run, folder / "whole"):
        _, status = os.waitpid(_forked(lambda target=target: _train(target, folder / f"{target.name}.digest")), 0)
        assert status == 0
    digests = {name: (folder / f"{name}.digest").read_text() for name in ("run", "whole")}
    print(json.dumps(digests | {"kills": done, "cut": cut}))


def _forked(work: Callable[[], None]) -> int:
    process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return process


def _train(run: Path, digest: Path) -> None:
    trainer = tiny_trainer(run, **CONFIG)
    trainer.train(resume_from_checkpoint=_whole(run) is not None or None)
    digest.write_text(digest_of(dict(trainer.model.state_dict()) | trainer.teacher.state_dict()))


def _whole(run: Path) -> Path | None:
    try:
        return find_checkpoint(run, True)
    except CheckpointError:
        refuse_used_folder(run)
        return None


def _wait_for_a_checkpoint(run: Path, process: int) -> bool:
    """Whether the attempt began to write a checkpoint that was not there before; it may have ended instead."""
    before = {folder.name for folder in checkpoint_folders(run)}
    while {folder.name for folder in checkpoint_folders(run)} <= before:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(0.0005)
    return True


def _is_sound(run: Path) -> bool:
    """Check what a kill left; whether a checkpoint was cut short."""
    cut = False
    for folder in checkpoint_folders(run):
        if (folder / "manifest.json").is_file():
            verify_checkpoint(folder)
            continue
        cut = True
        try:
            find_checkpoint(run, folder)
        except CheckpointError:
            continue
        raise AssertionError(f"{folder} is accepted and unfinished")
    _whole(run)
    return cut


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
