"""A search without an objective looks for the figure that would choose the best checkpoint."""

from pathlib import Path
from typing import Any

import pytest
from transformers import trainer
from transformers.trainer_utils import BestRun, HPSearchBackend

from adsr_hf import ADSRTrainer
from tests.tiny import TinyImages, tiny_trainer, tiny_vit

RATES = (3e-3, 3.0)


class Grid:
    """A backend without a library of its own: it tries each rate and keeps what was found."""

    found: dict[float, tuple[float, dict[str, float]]]
    direction: str | list[str]
    options: dict[str, Any]

    def ensure_available(self) -> None:
        pass

    def run(self, trainer: ADSRTrainer, n_trials: int, direction: str | list[str], **options: Any) -> BestRun:
        Grid.found, Grid.direction, Grid.options = {}, direction, options
        for rate in RATES[:n_trials]:
            trainer.args.learning_rate = rate
            trainer.train()
            metrics = trainer.evaluate()
            Grid.found[rate] = trainer.compute_objective(dict(metrics)), metrics
        pick = max if direction == "maximize" else min
        best = pick(Grid.found, key=lambda rate: Grid.found[rate][0])
        return BestRun("best", Grid.found[best][0], {"learning_rate": best})


def search(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], **config: Any) -> Any:
    monkeypatch.setitem(trainer.ALL_HYPERPARAMETER_SEARCH_BACKENDS, HPSearchBackend.WANDB, Grid)
    searching = tiny_trainer(
        folder,
        model_init=lambda: tiny_vit(),
        train_dataset=TinyImages(16),
        eval_dataset=TinyImages(16, seed=1),
        compute_metrics=lambda _: {"mine": 0.5},
        **{"max_steps": 6, "method": "pgd_at"} | config,
    )
    space = lambda _: {}  # noqa: E731
    return searching.hyperparameter_search(space, backend="wandb", n_trials=2, **arguments)


@pytest.mark.parametrize(
    ("config", "figure", "direction"),
    [
        ({}, "eval_robust_accuracy", "maximize"),
        ({"method": "clean"}, "eval_accuracy", "maximize"),
        ({"metric_for_best_model": "robust_loss"}, "eval_robust_loss", "minimize"),
        ({"metric_for_best_model": "mine", "greater_is_better": False}, "eval_mine", "minimize"),
    ],
)
def test_the_figure_that_chooses_is_what_is_searched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], figure: str, direction: str
) -> None:
    best = search(tmp_path, monkeypatch, {}, **config)
    assert Grid.direction == direction
    assert {rate: one[0] for rate, one in Grid.found.items()} == {
        rate: one[1][figure] for rate, one in Grid.found.items()
    }
    pick = max if direction == "maximize" else min
    assert best.objective == pick(one[1][figure] for one in Grid.found.values())


def test_an_objective_of_ones_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search(tmp_path, monkeypatch, {"compute_objective": lambda metrics: 7 * metrics["eval_mine"]})
    assert Grid.direction == "minimize"
    assert {one[0] for one in Grid.found.values()} == {3.5}


def test_options_of_the_backend_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search(tmp_path, monkeypatch, {"study_name": "rates", "load_if_exists": True})
    assert Grid.options == {"study_name": "rates", "load_if_exists": True}


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        ({"direction": "minimize"}, {}, "direction='minimize' does not go with .*'robust_accuracy'.* maximized"),
        ({"direction": ["maximize", "minimize"]}, {}, "pass your own compute_objective"),
        ({}, {"metric_for_best_model": "absent"}, "'absent' is not among the figures of the evaluation: .*eval_mine"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search(tmp_path, monkeypatch, arguments, **config)
