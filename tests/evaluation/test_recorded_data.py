import json
from dataclasses import asdict
from pathlib import Path

from adsr_hf.data import DataArguments
from adsr_hf.evaluation.checkpoint import recorded_data
from tests.evaluation.fake_records import write_fake_run


def test_a_run_is_measured_without_its_extra_images(tmp_path: Path) -> None:
    trained_on = DataArguments(
        dataset="a/b", test_split="held", extra_dataset="c/d", extra_fraction=0.5, policy_operations=2
    )
    run = write_fake_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"data": asdict(trained_on)}))
    measured_on = DataArguments(**recorded_data(str(run)))
    assert measured_on == DataArguments(dataset="a/b", test_split="held", policy_operations=2)
