"""The learning rate that drops in steps, as the papers' ResNets are trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_config, tiny_trainer

DROPS: dict[str, Any] = {
    "learning_rate_drops": [0.5, 0.75],
    "lr_scheduler_type": "constant",
    "learning_rate": 0.1,
    "max_steps": 8,
    "method": "clean",
    "optim": "sgd",
    "optim_args": "momentum=0.9",
}


def test_it_is_divided_by_ten_at_each_share_of_the_run(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, **DROPS)
    used = []
    step = torch.optim.SGD.step

    def recorded(optimizer: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        used.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", recorded)
        trainer.train()
    assert used == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    assert isinstance(trainer.optimizer.param_groups[0]["momentum"], float)
    assert "divided by 10 at 50%, 75% of the run" in trainer.card_facts().settings["learning rate"]


def test_a_continued_run_drops_where_the_whole_one_does(tmp_path: Path) -> None:
    def weights(folder: str, resume: str | None = None) -> dict[str, torch.Tensor]:
        trainer = tiny_trainer(tmp_path / folder, **DROPS, save_strategy="steps", save_steps=5)
        trainer.train(resume)
        return trainer.model.state_dict()

    whole = weights("whole")
    continued = weights("continued", str(tmp_path / "whole" / "checkpoint-5"))
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"learning_rate_drops": [100, 150]},
            r"learning_rate_drops=\[100, 150\] must be rising shares.*divide epochs",
        ),
        ({"learning_rate_drops": [0.75, 0.5]}, "must be rising shares"),
        ({"learning_rate_drops": [0.5, 0.5]}, "must be rising shares"),
        ({"lr_scheduler_type": "cosine"}, "does not go with lr_scheduler_type='cosine'"),
        ({"warmup_steps": 0.1}, r"warmup_steps=0\.1"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(tmp_path, **(DROPS | changes))
