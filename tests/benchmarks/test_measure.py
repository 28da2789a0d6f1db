"""The arithmetic of the benchmarks, and that they time what Trainer really does."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from adsr_hf import ADSRTrainer
from benchmarks.measure import Report, Spread, Target, argument_parser, interleaved, paired_ratio, run
from benchmarks.step_cost import floor
from benchmarks.training import DIGITS, SMOKE, make_batch, make_model, make_trainer, whole_step

RECIPE = Path(__file__).parents[2] / "recipes" / "digits" / "vit_adsr.yaml"


def test_spread_interpolates_quartiles() -> None:
    spread = Spread.of([4.0, 1.0, 3.0, 2.0])
    assert (spread.quartile_1, spread.median, spread.quartile_3) == (1.75, 2.5, 3.25)
    assert spread.values == [4.0, 1.0, 3.0, 2.0]
    single = Spread.of([7.0])
    assert (single.quartile_1, single.median, single.quartile_3) == (7.0, 7.0, 7.0)


def test_ratios_are_of_the_same_round() -> None:
    # The ratio of the medians would be 3 / 2.
    assert paired_ratio([1.0, 3.0, 100.0], [1.0, 2.0, 50.0]).values == [1.0, 1.5, 2.0]
    with pytest.raises(ValueError, match="argument"):
        paired_ratio([1.0], [1.0, 2.0])


def test_rounds_run_every_task_once_and_begin_with_another() -> None:
    order: list[str] = []
    tasks = {name: lambda name=name: order.append(name) for name in "ABC"}
    seconds = interleaved(tasks, repeats=4)
    assert "".join(order) == "ABC" + "BCA" + "CAB" + "ABC"
    assert {name: len(values) for name, values in seconds.items()} == {"A": 4, "B": 4, "C": 4}
    assert all(value > 0 for values in seconds.values() for value in values)


def test_floor_adds_one_forward_pass() -> None:
    # With passes that cost what they count, 23 forward passes become 24.
    seconds = {"forward": [1.0, 2.0], "attack_pass": [2.0, 4.0], "training_pass": [3.0, 6.0]}
    assert floor(seconds, attack_steps=10).values == pytest.approx([24 / 23, 24 / 23])


def test_a_target_is_met_up_to_its_limit() -> None:
    assert Target("", measured=1.1, limit=1.1).met
    assert not Target("", measured=1.1001, limit=1.1).met


def test_a_record_with_nan_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    arguments = argument_parser(None, repeats=1).parse_args(["--output", str(path)])
    broken = Report("broken", 0, {}, "s", {"task": [1.0]}, {"a/b": Spread.of([float("nan")])})
    with pytest.raises(ValueError, match="JSON"):
        run(lambda _: broken, arguments)
    assert not path.exists()


@pytest.mark.parametrize("repeats", ["0", "-1", "two"])
def test_repeats_must_be_positive(repeats: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        argument_parser(None, repeats=1).parse_args([f"--repeats={repeats}"])
    assert "at least 1" in capsys.readouterr().err


class StoppingTrainer(ADSRTrainer):
    """Trains for three steps, and keeps what Trainer's loop handed to each."""

    batches: list[dict[str, Tensor]]

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any) -> Tensor:
        self.batches.append({name: values.clone() for name, values in inputs.items()})
        self.control.should_training_stop = len(self.batches) == 3
        return super().training_step(model, inputs, *rest)


@pytest.mark.parametrize("method", ["clean", "pgd_at", "adsr"])
def test_whole_step_is_a_step_of_the_training_loop(tmp_path: Path, method: str) -> None:
    replayed = make_trainer(str(tmp_path), make_model(SMOKE, seed=0), SMOKE, seed=0, method=method)
    rows = make_batch(SMOKE, seed=0)
    trained = StoppingTrainer(
        make_model(SMOKE, seed=0),
        replayed.args,
        train_dataset=[
            {"pixel_values": image, "labels": int(label)}
            for image, label in zip(rows["pixel_values"], rows["labels"], strict=True)
        ],
        processing_class=replayed.processing_class,
    )
    trained.batches = []
    trained.train()
    for batch in trained.batches:
        whole_step(replayed, batch)
    assert len(trained.batches) == replayed.state.global_step == trained.state.global_step == 3
    initial = make_model(SMOKE, seed=0).state_dict()
    for name, value in trained.model.state_dict().items():
        assert torch.equal(replayed.model.state_dict()[name], value), name
    assert any(not torch.equal(initial[name], value) for name, value in trained.model.state_dict().items())
    if method == "adsr":
        assert trained.teacher is not None
        assert replayed.teacher is not None
        for name, value in trained.teacher.state_dict().items():
            assert torch.equal(replayed.teacher.state_dict()[name], value), name


def test_the_digits_workload_is_the_recipe() -> None:
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    config = make_model(DIGITS, seed=0).config.to_dict()
    assert {name: config[name] for name in recipe["model_config"]} == recipe["model_config"]
    assert config["image_size"] == recipe["image_size"]
    assert DIGITS.batch_size == recipe["per_device_train_batch_size"]
    assert DIGITS.attack_steps == recipe["attack_steps"]


def test_a_record_survives_json(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    arguments = argument_parser(None, repeats=1).parse_args(["--output", str(path)])
    report = Report("one", 3, {}, "s", {"a": [1.0, 2.0]}, {"a/a": Spread.of([1.0, 1.0])}, targets=[Target("t", 2, 1)])
    record = run(lambda _: report, arguments)
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(record))
    assert record["targets"] == [{"claim": "t", "measured": 2, "limit": 1, "met": False}]
