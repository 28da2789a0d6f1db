"""The evaluation suite on a small model: figures from records, records independent of batch size."""

import json
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.evaluation.accuracy import wilson_interval
from adsr_hf.evaluation.suite import Evaluation, evaluate
from tests.tiny import MEAN, STD, TinyImages, tiny_vit

THREATS = [ThreatModel("Linf", 0.02), ThreatModel("Linf", 0.2), ThreatModel("L2", 0.5)]
SPACE = PixelSpace(MEAN, STD)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """A model that learned the tiny images a little, so that attacks have something to break."""
    network, images = tiny_vit(), TinyImages(64).batch()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(40):
        loss = network(**images).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def measure(model: torch.nn.Module, **changes: object) -> Evaluation:
    settings = {"threats": THREATS, "pixel_space": SPACE, "num_steps": 4, "restarts": 2, "show_progress": False}
    return evaluate(model, TinyImages(30, seed=1), **settings | changes)


@pytest.fixture(scope="module")
def evaluation(model: torch.nn.Module) -> Evaluation:
    return measure(model)


def test_records_do_not_depend_on_the_batch_size(model: torch.nn.Module, evaluation: Evaluation) -> None:
    for batch_size in (1, 7, 30):
        other = measure(model, batch_size=batch_size)
        assert torch.equal(other.labels, evaluation.labels)
        torch.testing.assert_close(other.clean_logits, evaluation.clean_logits, rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(evaluation.attacked, other.attacked, strict=True):
            assert torch.equal(mine.logits.argmax(1), theirs.logits.argmax(1))


def test_distances_stay_inside_each_threat(evaluation: Evaluation) -> None:
    for outcome in evaluation.attacked:
        assert (outcome.distances <= outcome.threat.epsilon + 1e-6).all()
        assert outcome.distances.max() > 0.5 * outcome.threat.epsilon


def test_a_larger_radius_breaks_more_and_attacks_hurt(evaluation: Evaluation) -> None:
    summary = evaluation.summary()
    small, large, _ = (entry["accuracy"] for entry in summary["attacked"])
    assert summary["clean"]["accuracy"] > 0.5
    assert large < small <= summary["clean"]["accuracy"]


def test_summary_is_computed_from_the_outcomes(evaluation: Evaluation) -> None:
    summary = evaluation.summary()
    right = evaluation.clean_logits.argmax(1) == evaluation.labels
    assert summary["images"] == 30
    assert summary["clean"]["accuracy"] == right.sum().item() / 30
    for entry, outcome in zip(summary["attacked"], evaluation.attacked, strict=True):
        standing = int((right & (outcome.logits.argmax(1) == evaluation.labels)).sum())
        assert entry["accuracy"] == standing / 30
        assert entry["accuracy_interval"] == list(wilson_interval(standing, 30))


def test_written_records_give_the_same_figures(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.write(tmp_path / "evaluation")
    table = parquet.read_table(tmp_path / "evaluation" / "records.parquet").to_pydict()
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    for entry in summary["attacked"]:
        standing = [
            clean == label == attacked
            for label, clean, attacked in zip(
                table["label"], table["clean prediction"], table[f"{entry['threat']} prediction"], strict=True
            )
        ]
        assert entry["accuracy"] == sum(standing) / len(standing)
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == ["records.parquet", "summary.json"]


def test_the_model_is_left_as_it_was(model: torch.nn.Module) -> None:
    model.train()
    model.vit.embeddings.requires_grad_(False)
    measure(model, threats=THREATS[:1])
    assert model.training
    assert not any(parameter.requires_grad for parameter in model.vit.embeddings.parameters())
    assert model.classifier.weight.requires_grad
    model.requires_grad_(True).eval()


def test_what_cannot_be_measured_is_refused(model: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match="dataset is empty"):
        evaluate(model, [], threats=[], pixel_space=SPACE)
    with pytest.raises(ValueError, match="labels run from"):
        evaluate(model, [{"pixel_values": torch.zeros(3, 16, 16), "labels": 4}], threats=[], pixel_space=SPACE)
    broken = tiny_vit()
    with torch.no_grad():
        broken.classifier.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinity"):
        measure(broken)
