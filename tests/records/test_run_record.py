"""run.json as those who come after a run read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from adsr_hf.cli.main import main
from adsr_hf.records.run_record import find_run_record, published_weights, read_run_record
from adsr_hf.settings.errors import RecordsError
from tests.evaluation.fake_records import write_fake_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_fake_run(tmp_path / "run", images=20)


def change(run: Path, **changes: Any) -> Path:
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {}}, "config.method is missing"),
        ({"config": {"method": "adsr", "norm": "Linf", "epsilon": []}}, "config.epsilon is"),
        ({"config": {"method": "adsr", "norm": "L7", "epsilon": 1}}, "are no threat model"),
        ({"config": {"method": "adsr", "norm": "Linf", "epsilon": 1, "publish": "ema"}}, "config.publish is 'ema'"),
        ({"log_history": [{"step": 1, "images_per_second": "fast"}]}, r"log_history\[0\].images_per_second is 'fast'"),
        ({"log_history": [{"step": 10**400}]}, r"log_history\[0\].step is '1000"),
        ({"log_history": [{"loss": 1.0}]}, r"log_history\[0\].step is missing"),
        ({"robust_overfitting": {"student": {"best": 0.5}}}, "robust_overfitting.student.best_step is missing"),
        ({"robust_overfitting": {"someone": {}}}, "a key of robust_overfitting is 'someone'"),
        ({"images": {"train": -1}}, "images.train is -1"),
        ({"versions": None}, "versions is None"),
    ],
)
def test_what_a_record_must_hold(run: Path, changes: dict[str, Any], message: str) -> None:
    path = change(run, **changes)
    with pytest.raises(RecordsError, match=message) as caught:
        read_run_record(path)
    assert str(path) in str(caught.value)


def test_a_run_that_diverged_can_be_read(run: Path) -> None:
    path = change(run, log_history=[{"step": 1, "loss": float("nan"), "learning_rate": 0.1}])
    assert read_run_record(path)["log_history"][0]["step"] == 1


@pytest.mark.parametrize("content", ["{}", "", '{"config": {'])
def test_evaluate_names_a_damaged_run(run: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "run.json").write_text(content)
    assert main(["evaluate", str(run)]) == 1
    assert f"adsr: error: {run / 'run.json'} is not the record of a run: " in capsys.readouterr().err


def test_whose_the_published_weights_are(run: Path) -> None:
    record = read_run_record(run / "run.json")
    assert published_weights(record) == "student"
    assert published_weights(record | {"config": record["config"] | {"publish": "teacher"}}) == "teacher"
    assert published_weights(record | {"published": {"weights": "teacher"}}) == "teacher"


def test_the_nearest_record_is_found(run: Path) -> None:
    (run / "checkpoint-5").mkdir()
    assert find_run_record(run / "checkpoint-5", run) == run / "run.json"
    assert find_run_record(run / "checkpoint-5") is None
