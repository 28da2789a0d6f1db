"""A decision between two made-up runs."""

from pathlib import Path

import pytest

from adsr_hf.cli.main import main
from tests.evaluation.fake_records import write_fake_run


@pytest.fixture
def decision(tmp_path: Path) -> Path:
    """decision.json of a gate that keeps the current model, in ``old``, and not the candidate, in ``new``."""
    return decide(tmp_path, "minimum_gain: {accuracy: 0.5}", status=3)


@pytest.fixture
def promotion(tmp_path: Path) -> Path:
    """decision.json of a gate that promotes ``new``, judged against ``old``."""
    return decide(tmp_path, "minimum_gain: {accuracy: -0.5}", status=0)


def decide(folder: Path, rules: str, *, status: int) -> Path:
    new, old = (write_fake_run(folder / name, train_seed=seed) for name, seed in (("new", 1), ("old", 2)))
    policy = folder / "policy.yaml"
    policy.write_text(rules)
    path = folder / "decision.json"
    assert main(["gate", str(new), str(old), "--policy", str(policy), "--output", str(path)]) == status
    return path
