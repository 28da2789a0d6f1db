"""Trains tiny models, one after the other, in a process of its own: ``python -m tests.training_worker '<JSON list>'``.

Keys of a task: ``output_dir``, ``result`` (a folder, for what this process found), ``config`` (for ADSRConfig), and
maybe ``family``, ``model_seed``, ``augmented``, ``resume``, ``crash_after`` (a step).
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from tests.snapshots import Crash, CrashAfter, digest_of, without_timings
from tests.tiny import tiny_model, tiny_trainer
from tests.tiny_runs import AugmentedImages


class Progress(TrainerCallback):
    """Tells whoever watches which step is done."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.file.write_text(str(state.global_step))


def main(tasks: list[dict[str, Any]]) -> None:
    # A background job of a shell ignores Ctrl-C; a person's terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    for task in tasks:
        _train(task)


def _train(task: dict[str, Any]) -> None:
    result = Path(task["result"])
    result.mkdir(exist_ok=True)
    callbacks: list[TrainerCallback] = [Progress(result / "step")]
    if "crash_after" in task:
        callbacks.append(CrashAfter(task["crash_after"]))
    trainer = tiny_trainer(
        task["output_dir"],
        model=tiny_model(task.get("family", "vit"), seed=task.get("model_seed", 0)),
        train_dataset=AugmentedImages(32) if task.get("augmented") else None,
        callbacks=callbacks,
        **task["config"],
    )
    initial = without_timings([trainer.evaluate()])[0]
    trainer.state.log_history.clear()
    try:
        trainer.train(resume_from_checkpoint=task.get("resume"))
    except Crash:
        return
    assert trainer.teacher is not None
    student, teacher = dict(trainer.model.state_dict()), trainer.teacher.state_dict()
    found = {
        "world_size": trainer.args.world_size,
        "student": digest_of(student),
        "teacher": digest_of(teacher),
        "attack_generator": digest_of({"state": trainer.run.method_step.attack.generator.get_state()}),
        "log": without_timings(trainer.state.log_history),
        "initial_figures": initial,
        "figures": without_timings([trainer.evaluate()])[0],
    }
    rank = trainer.args.process_index
    (result / f"rank_{rank}.json").write_text(json.dumps(found))
    save_file({name: tensor.contiguous() for name, tensor in student.items()}, result / f"student_{rank}.safetensors")
    save_file(teacher, result / f"teacher_{rank}.safetensors")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
