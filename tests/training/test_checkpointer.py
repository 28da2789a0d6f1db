"""Checkpoints without a trainer: whole or not there, and their parts given back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.weights import STUDENT_FILE, TEACHER_FILE, CheckpointError
from adsr_hf.training.checkpointer import Checkpointer, Part, StateOf, network_to_save, unreadable_files_name
from adsr_hf.training.checkpoints import MANIFEST_FILE, RUN_FILE, verify_checkpoint
from tests.tiny import tiny_config, tiny_vit


class Counter:
    """A stateful part."""

    def __init__(self, name: str, value: int) -> None:
        self.name, self.value = name, torch.tensor(value)

    def state_dict(self) -> dict[str, Tensor]:
        return {self.name: self.value}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.value = state[self.name]


def checkpointer(folder: Path, *parts: Part, **config: Any) -> Checkpointer:
    return Checkpointer(tiny_config(folder, **config), accelerator=Accelerator(cpu=True), parts=parts)


def save(keeper: Checkpointer, folder: Path, step: int = 4, model: Any = None) -> Path:
    model = model or tiny_vit()
    checkpoint = folder / f"checkpoint-{step}"
    with keeper.sealing(checkpoint, {"seed": 1}, model, step=step):
        model.save_pretrained(checkpoint)
        keeper.save_parts(checkpoint)
    keeper.rotate(checkpoint, None)
    return checkpoint


def test_parts_come_back_from_a_whole_checkpoint(tmp_path: Path) -> None:
    saved = save(checkpointer(tmp_path, Part("a", Counter("a", 3)), Part("b", Counter("b", 5))), tmp_path)
    verify_checkpoint(saved)
    assert json.loads((saved / RUN_FILE).read_text()) == {"seed": 1}
    one, other = Counter("a", 0), Counter("b", 0)
    checkpointer(tmp_path, Part("a", one), Part("b", other)).load_parts(saved)
    assert (one.value.item(), other.value.item()) == (3, 5)


def test_with_another_number_of_processes_only_shared_parts_come_back(tmp_path: Path) -> None:
    saved = save(checkpointer(tmp_path, Part("a", Counter("a", 3)), Part("b", Counter("b", 5))), tmp_path)
    (saved / "process_1.safetensors").write_bytes((saved / "process_0.safetensors").read_bytes())
    shared, alone = Counter("a", 0), Counter("b", 0)
    checkpointer(tmp_path, Part("a", shared, shared=True), Part("b", alone)).load_parts(saved)
    assert (shared.value.item(), alone.value.item()) == (3, 0)


def test_two_parts_may_not_use_one_name(tmp_path: Path) -> None:
    keeper = checkpointer(tmp_path, Part("a", Counter("x", 1)), Part("b", Counter("x", 2)))
    with pytest.raises(ValueError, match="part 'b' saves under names that another part uses: \\['x'\\]"):
        keeper.save_parts(tmp_path)


def test_what_is_cut_off_does_not_count(tmp_path: Path) -> None:
    keeper = checkpointer(tmp_path)
    with pytest.raises(KeyboardInterrupt), keeper.sealing(tmp_path / "checkpoint-1", {}, tiny_vit(), step=1):
        raise KeyboardInterrupt
    assert not (tmp_path / "checkpoint-1" / MANIFEST_FILE).exists()
    assert not keeper.has_saved(1)


def test_weights_that_training_destroyed_are_not_saved(tmp_path: Path) -> None:
    model = tiny_vit()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="NaN or infinity at step 2"):
        save(checkpointer(tmp_path), tmp_path, 2, model)
    assert not (tmp_path / "checkpoint-2").exists()


def test_older_ones_go_once_the_new_one_is_sealed(tmp_path: Path) -> None:
    keeper = checkpointer(tmp_path, save_total_limit=2)
    for step in (1, 2, 3):
        save(keeper, tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    assert keeper.has_saved(3)


def test_student_and_teacher_come_back_bit_for_bit(tmp_path: Path) -> None:
    student, teacher = tiny_vit(seed=1), EMATeacher(tiny_vit(seed=2))
    keeper = checkpointer(tmp_path, publish="teacher")
    keeper.save_networks(tmp_path, student, teacher)
    assert (tmp_path / TEACHER_FILE).is_file()
    assert (tmp_path / STUDENT_FILE).is_file()
    other, follower = tiny_vit(seed=3), EMATeacher(tiny_vit(seed=4))
    keeper.load_student(tmp_path, other)
    keeper.load_teacher(tmp_path, follower)
    for loaded, expected in ((other, student), (follower.model, teacher.model)):
        assert all(torch.equal(value, expected.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_the_published_teacher_has_the_students_dtypes() -> None:
    student, teacher = tiny_vit(seed=1).bfloat16(), tiny_vit(seed=2)
    network, state = network_to_save(student, teacher, None)
    assert network is student
    assert state is not None
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    assert network_to_save(student, None, None) == (student, None)


def test_a_file_that_does_not_fit_is_named_with_its_checkpoint() -> None:
    named = pytest.raises(CheckpointError, match="checkpoint here cannot be continued: rng_state does not fit")
    with named, unreadable_files_name("here", "rng_state"):
        raise ValueError("other groups")
    with pytest.raises(ValueError, match=r"^other$"), unreadable_files_name(None, "rng_state"):
        raise ValueError("other")


def test_state_may_live_elsewhere(tmp_path: Path) -> None:
    counter = Counter("a", 4)
    part = Part("a", StateOf(counter.state_dict, counter.load_state_dict))
    saved = save(checkpointer(tmp_path, part), tmp_path)
    counter.value = torch.tensor(0)
    checkpointer(tmp_path, part).load_parts(saved)
    assert counter.value.item() == 4
