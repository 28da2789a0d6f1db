"""Inference time: equal by proof where the architecture is, measured until it can be told where it is not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adsr_hf.decision import latency
from adsr_hf.decision.arms import Member, read_arm
from adsr_hf.decision.compare import compare
from adsr_hf.decision.gate import decide
from adsr_hf.decision.latency import MOST_ROUNDS, ROUNDS, measure_latency
from adsr_hf.decision.policy import Policy
from adsr_hf.decision.same_cost import same_cost
from adsr_hf.measures.statistics import resampling_weights
from tests.evaluation.fake_records import record_model_files, write_fake_run
from tests.tiny import tiny_vit


def run(folder: Path, seed: int = 0, **config: object) -> Path:
    write_fake_run(folder, train_seed=seed, num_classes=4)
    tiny_vit(seed=seed, **config).save_pretrained(folder)
    record_model_files(folder)
    return folder


def member(folder: Path) -> Member:
    return read_arm([str(folder)]).members[0]


def test_two_trainings_of_one_architecture_cost_the_same_without_a_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(latency, "_seconds")
    new, old = (run(tmp_path / name, seed) for seed, name in enumerate(("new", "old")))
    arms = read_arm([str(new)]), read_arm([str(old)])
    comparison = compare(*arms, latency_bound=1.0)
    assert comparison.latency is not None
    assert comparison.latency.verdict == "the same"
    assert comparison.latency.as_dict()["rounds"] == 0
    decision, _ = decide(Policy(maximum_latency_ratio=1.0), comparison, arms[0])
    assert decision == "promote"
    decision, _ = decide(Policy(maximum_latency_ratio=0.9), comparison, arms[0])
    assert decision == "keep"


@pytest.mark.parametrize(
    "config", [{"num_hidden_layers": 3}, {"num_attention_heads": 1}, {"hidden_act": "relu"}, {"patch_size": 8}]
)
def test_another_architecture_is_timed(tmp_path: Path, config: dict) -> None:
    """Heads and activations change no weight's shape, but what is computed."""
    tiny_vit().save_pretrained(tmp_path / "a")
    base = tiny_vit().config
    assert any(getattr(base, name) != value for name, value in config.items())
    tiny_vit(**config).save_pretrained(tmp_path / "b")
    assert not same_cost(tmp_path / "a", tmp_path / "b")


def test_what_costs_nothing_may_differ_and_types_may_not(tmp_path: Path) -> None:
    tiny_vit(seed=0).save_pretrained(tmp_path / "a")
    other = tiny_vit(seed=1, hidden_dropout_prob=0.3)
    other.config.id2label = {index: f"name {index}" for index in other.config.id2label}
    other.save_pretrained(tmp_path / "b")
    assert same_cost(tmp_path / "a", tmp_path / "b")
    weights = {name: tensor.half() for name, tensor in load_file(tmp_path / "b" / "model.safetensors").items()}
    save_file(weights, tmp_path / "b" / "model.safetensors", metadata={"format": "pt"})
    assert not same_cost(tmp_path / "a", tmp_path / "b")


def clock(monkeypatch: pytest.MonkeyPatch, ratio: float, noise: float, seed: int) -> None:
    """Forward passes that take what is told: the smaller network 1, the larger ``ratio``, times the machine's mood."""
    random = np.random.default_rng(seed)

    def seconds(model: object, pixels: object) -> float:
        layers = model.config.num_hidden_layers  # type: ignore[attr-defined]
        return (ratio if layers == 2 else 1.0) * float(np.exp(noise * random.standard_normal()))

    monkeypatch.setattr(latency, "_seconds", seconds)


def test_a_build_of_torch_for_a_gpu_measures_on_a_machine_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"))
    new, old = member(run(tmp_path / "new", num_hidden_layers=2)), member(run(tmp_path / "old", num_hidden_layers=1))
    clock(monkeypatch, 1.5, 0.05, 0)
    assert measure_latency(new, old, bound=1.1).verdict == "slower"


def test_rounds_go_on_until_they_can_tell_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = member(run(tmp_path / "new", num_hidden_layers=2)), member(run(tmp_path / "old", num_hidden_layers=1))
    clock(monkeypatch, 1.5, 0.05, 0)
    found = measure_latency(new, old, bound=1.1)
    assert (found.rounds, found.verdict) == (ROUNDS, "slower")
    clock(monkeypatch, 1.05, 0.08, 0)
    found = measure_latency(new, old, bound=1.1)
    assert ROUNDS < found.rounds <= MOST_ROUNDS
    assert found.interval[1] < 1.1
    clock(monkeypatch, 1.1, 0.3, 0)
    found = measure_latency(new, old, bound=1.1)
    assert found.rounds == MOST_ROUNDS
    assert found.interval[0] <= 1.1 <= found.interval[1]


@pytest.mark.slow
def test_looking_five_times_does_not_find_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound itself, either side is wrong: at most one look in twenty may find one."""
    new, old = member(run(tmp_path / "new", num_hidden_layers=2)), member(run(tmp_path / "old", num_hidden_layers=1))
    told = 0
    for seed in range(40):
        clock(monkeypatch, 1.1, 0.1, seed)
        told += measure_latency(new, old, bound=1.1).rounds < MOST_ROUNDS
    # 40 draws at 5%: seven or more have a chance of 0.3%.
    assert told <= 6


def test_the_interval_is_a_bootstrap_of_the_median() -> None:
    """Against the resampled ratios themselves."""
    taken = np.random.default_rng(0).uniform(1, 2, (30, 2))
    ratios = np.sort(taken[:, 0] / taken[:, 1])
    draws = resampling_weights(30, seed=0).astype(int)
    medians = [np.median(np.repeat(ratios, draw)) for draw in draws]
    assert latency._interval(taken) == pytest.approx(tuple(np.quantile(medians, [0.005, 0.995])))
