"""A run that leads nowhere says so in time, once, with what to change, and ends where that is asked for."""

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from adsr_hf.runs.health import RunHealth
from tests.tiny import tiny_config

IMAGES = 200


def health(folder: Path, said: list[str], **changes: Any) -> RunHealth:
    given = {"images": IMAGES, "majority": 0.3, "probe": 0.7, "stop": False, "say": said.append}
    settings = {name: changes.pop(name) for name in list(changes) if name not in given}
    args = tiny_config(folder, **({"method": "pgd_at"} | settings))
    return RunHealth(args, **(given | changes))


def evaluated(watch: RunHealth, share: float, *, clean: float, robust: float = 0.6, prefix: str = "eval_") -> bool:
    """Whether the run goes on after an evaluation at this share of it."""
    control = TrainerControl()
    state = TrainerState(global_step=int(100 * share), max_steps=100, epoch=10 * share)
    metrics = {f"{prefix}accuracy": clean, f"{prefix}robust_accuracy": robust}
    watch.on_evaluate(None, state, control, metrics=metrics)
    return not control.should_training_stop


@pytest.mark.parametrize(
    ("clean", "robust", "kind"),
    [
        (0.3, 0.3, "one class"),
        (0.36, 0.3, "one class"),
        (0.55, 0.5, "behind probe"),
        (0.8, 0.32, "not robust"),
        # Wilson's interval of 130 of 200 reaches above 70%.
        (0.65, 0.5, None),
        (0.9, 0.6, None),
    ],
)
def test_what_is_found_is_said_with_the_way_out(tmp_path: Path, clean: float, robust: float, kind: str | None) -> None:
    said: list[str] = []
    watch = health(tmp_path, said)
    assert evaluated(watch, 0.5, clean=clean, robust=robust)
    assert [found.kind for found in watch.found] == ([kind] if kind else [])
    if kind:
        assert said[0].startswith("step 50: ")
        assert {"one class": "labels", "behind probe": "epsilon_zero_share", "not robust": "epsilon"}[kind] in said[0]
        assert watch.record()[0]["images"] == IMAGES


def test_nothing_is_judged_before_the_radius_is_full(tmp_path: Path) -> None:
    said: list[str] = []
    watch = health(tmp_path, said, epsilon_zero_share=0.2, epsilon_ramp_share=0.4)
    for share in (0.1, 0.3, 0.59):
        assert evaluated(watch, share, clean=0.3, robust=0.0)
    assert said == []
    evaluated(watch, 0.6, clean=0.3)
    assert len(said) == 1
    in_epochs = health(tmp_path, said := [], epsilon_ramp_epochs=6.0, num_train_epochs=10, max_steps=-1)
    evaluated(in_epochs, 0.5, clean=0.3)
    assert said == []


def test_it_is_said_once_and_ends_the_run_only_where_asked(tmp_path: Path) -> None:
    said: list[str] = []
    watch = health(tmp_path, said)
    assert all(evaluated(watch, share, clean=0.5) for share in (0.3, 0.5, 0.7))
    assert len(said) == 1
    stopping = health(tmp_path, said := [], stop=True)
    assert not evaluated(stopping, 0.3, clean=0.5)
    assert "the run ends here, since stop_hopeless is on" in said[0]


def test_the_published_weights_are_judged_and_clean_training_by_no_attack(tmp_path: Path) -> None:
    watch = health(tmp_path, said := [], publish="teacher")
    evaluated(watch, 0.5, clean=0.1)
    assert said == []
    evaluated(watch, 0.5, clean=0.1, prefix="eval_teacher_")
    assert len(said) == 1
    clean = health(tmp_path, said := [], method="clean", probe=None)
    evaluated(clean, 0.5, clean=0.9, robust=0.0)
    assert said == []
