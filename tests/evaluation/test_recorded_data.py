import json
from dataclasses import asdict
from pathlib import Path

from adsr_hf.data import DataArguments
from adsr_hf.evaluation.checkpoint import recorded_data


def test_a_run_is_measured_without_its_extra_images(tmp_path: Path) -> None:
    trained_on = DataArguments(
        dataset="a/b", test_split="held", extra_dataset="c/d", extra_fraction=0.5, policy_operations=2
    )
    (tmp_path / "run.json").write_text(json.dumps({"data": asdict(trained_on)}))
    measured_on = DataArguments(**recorded_data(str(tmp_path)))
    assert measured_on == DataArguments(dataset="a/b", test_split="held", policy_operations=2)
