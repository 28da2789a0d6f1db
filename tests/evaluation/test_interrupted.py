"""An interrupted evaluation goes on with its own work only, and leaves the work of others alone."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.evaluation import journal_key as keys
from adsr_hf.evaluation.driver import Driver
from adsr_hf.evaluation.fingerprints import DataFacts, model_fingerprint
from adsr_hf.evaluation.journal import Journal
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.suite import evaluate
from adsr_hf.records.files import whole_file
from adsr_hf.records.folder_lock import FolderInUseError
from tests.evaluation.subjects import trained_model
from tests.records.test_folder_lock import start_owner
from tests.tiny import CLASSES, MEAN, STD, tiny_vit

SPACE, OTHER = PixelSpace(MEAN, STD), PixelSpace(MEAN, tuple(0.9 * one for one in STD))
PLAN = Plan((ThreatModel("Linf", 0.02), ThreatModel("Linf", 0.1)), num_steps=2, batch_size=64)


def images() -> list[dict[str, Any]]:
    """Grey enough to lie in [0, 1] under both pixel spaces."""
    pixels = 0.4 + 0.2 * torch.rand(70, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return [{"pixel_values": SPACE.to_pixel_values(one[None])[0], "labels": row % CLASSES} for row, one in
            enumerate(pixels)]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return trained_model()


def measure(model: torch.nn.Module, folder: Path | None, space: PixelSpace = SPACE) -> EvaluationRecords:
    return evaluate(model, images(), PLAN, pixel_space=space, folder=folder, show_progress=False)


def cut_short(model: torch.nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate until the second threat."""
    whole = Driver._under

    def cut(self: Driver, threat: ThreatModel, standing: list[int]) -> None:
        if threat == PLAN.threats[1]:
            raise KeyboardInterrupt
        whole(self, threat, standing)

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "_under", cut)
        with pytest.raises(KeyboardInterrupt):
            measure(model, folder)


def units(folder: Path) -> list[Path]:
    return sorted(folder.glob(".journal/*/*.npz"))


def test_another_normalisation_takes_nothing_over_and_leaves_the_work_there(
    model: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(model, tmp_path, monkeypatch)
    before = units(tmp_path)
    assert before
    continued = measure(model, tmp_path, OTHER)
    assert continued.table.equals(measure(model, None, OTHER).table)
    assert not continued.table.equals(measure(model, None).table)
    assert units(tmp_path) == before
    assert measure(model, tmp_path).table.equals(measure(model, None).table)
    assert not (tmp_path / ".journal").exists()


def test_a_damaged_unit_is_measured_again(
    model: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(model, tmp_path, monkeypatch)
    moments = random.Random(0)
    for path in units(tmp_path):
        content = bytearray(path.read_bytes())
        if moments.random() < 0.5:
            content = content[: moments.randrange(len(content))]
        else:
            content[len(content) // 3] ^= 0xFF
        path.write_bytes(bytes(content))
    assert measure(model, tmp_path).table.equals(measure(model, None).table)


def test_a_folder_in_use_is_refused_and_left_alone(model: torch.nn.Module, tmp_path: Path) -> None:
    owner = start_owner(tmp_path)
    try:
        with pytest.raises(FolderInUseError, match=re.escape(f"{tmp_path} is in use by process {owner.pid}")):
            measure(model, tmp_path)
        assert not units(tmp_path)
        assert not (tmp_path / "summary.json").exists()
    finally:
        owner.kill()
        owner.wait()
    measure(model, tmp_path)
    assert read_evaluation(tmp_path).images == 70


def test_a_full_disk_says_where_the_work_is(
    model: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        with whole_file(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("adsr_hf.evaluation.records.write_bytes", full)
    message = (
        rf"records.parquet cannot be written: No space left .*\. What is finished is kept in {tmp_path}, and the same "
        r"command continues\. Make room there"
    )
    with pytest.raises(OSError, match=message):
        measure(model, tmp_path)
    assert units(tmp_path)


FACTS = DataFacts("data", torch.zeros(2, dtype=torch.int64), (3, 16, 16))
VERSIONS = dict.fromkeys(("adsr_hf", "torch", "transformers", "numpy", "pillow", "pyautoattack", "datasets"), "1")


def key(model: torch.nn.Module | None = None, facts: DataFacts = FACTS, **changes: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    model = model or tiny_vit()
    given = {"threats": ["Linf 0.1"], "attacks": [{"name": "pgd", "num_steps": 2}], "seed": 0, "versions": VERSIONS}
    space = changes.pop("pixel_space", SPACE)
    return keys.journal_key(model, model_fingerprint(model), facts, space, **(given | changes))


def _gelu_becomes_relu() -> torch.nn.Module:
    torch.manual_seed(0)
    return tiny_vit(hidden_act="relu")


@pytest.mark.parametrize(
    "changed",
    [
        lambda: key(_gelu_becomes_relu()),
        lambda: key(tiny_vit().bfloat16()),
        lambda: key(facts=DataFacts("data", FACTS.labels, (3, 8, 32))),
        lambda: key(facts=DataFacts("other", FACTS.labels, FACTS.image_shape)),
        lambda: key(pixel_space=PixelSpace(MEAN, STD, 255.0)),
        lambda: key(attacks=[{"name": "pgd", "num_steps": 3}]),
        lambda: key(threats=["Linf 0.2"]),
        lambda: key(seed=1),
        *(
            lambda name=name: key(versions=VERSIONS | {name: "2"})
            for name in ("adsr_hf", "torch", "transformers", "numpy", "pillow", "pyautoattack")
        ),
    ],
)
def test_whatever_changes_an_outcome_changes_the_key(changed: Callable[[], dict[str, Any]]) -> None:
    assert changed() != key()


def test_the_code_that_decides_changes_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = key()
    edited = tmp_path / "severities.py"
    edited.write_bytes(Path(str(keys.severities.__file__)).read_bytes().replace(b"0.04", b"0.05", 1))
    monkeypatch.setattr(keys.severities, "__file__", str(edited))
    assert key() != before


def test_what_the_deciding_code_uses_decides_too() -> None:
    """But for what only counts, keeps or describes."""
    deciding = [str(module.__name__) for module in keys._DECIDING_CODE]
    others = ["settings", "records", "data"]
    others += [f"evaluation.{name}" for name in ("fingerprints", "journal", "progress", "plan", "remaining_time")]
    others += ["evaluation.sanity"]
    known = (*deciding, *(f"adsr_hf.{name}" for name in others))
    for module in keys._DECIDING_CODE:
        path = Path(str(module.__file__))
        for source in path.parent.rglob("*.py") if path.name == "__init__.py" else [path]:
            for used in re.findall(r"^\s*from (adsr_hf[\w.]*) import", source.read_text(), flags=re.MULTILINE):
                assert used in known or used.startswith(tuple(f"{name}." for name in known)), (source.name, used)


def test_what_changes_no_outcome_keeps_the_key() -> None:
    named = tiny_vit()
    named.load_state_dict(tiny_vit().state_dict())
    torch.manual_seed(0)
    again = tiny_vit()
    again.config._name_or_path = "elsewhere"
    again.config.id2label = dict.fromkeys(range(CLASSES), "x")
    assert key(again.train()) == key(versions=VERSIONS | {"datasets": "9"})


def test_journals_keep_apart_and_remove_their_own(tmp_path: Path) -> None:
    one, other = Journal(tmp_path, {"seed": 0}), Journal(tmp_path, {"seed": 1})
    for journal in (one, other):
        journal.add("clean", {"index": np.array([0]), "logits": np.zeros((1, 2), np.float32)})
    one.remove()
    assert other.read("clean")["index"].tolist() == [0]
    assert one.read("clean") == {}
