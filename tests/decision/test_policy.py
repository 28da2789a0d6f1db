"""A policy is refused where it cannot mean what it says."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.decision.policy import Policy, read_policy


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"maximum_loss": {"accuracy": 2}}, r"in \[0, 1\); write 0.02 for 2 points"),
        ({"maximum_loss": {"accuracy": 1}}, "write 0.01 for 1 points"),
        ({"maximum_loss": {"*/robust_accuracy": 5.0}}, "write 0.05 for 5 points"),
        ({"minimum_gain": {"accuracy": 2}}, r"in \(-1, 1\); write 0.02"),
        ({"minimum_gain": {"accuracy": -2}}, "write -0.02 for -2 points"),
        ({"maximum_loss": {"accuracy": -0.01}}, r"in \[0, 1\)"),
        ({"maximum_loss": {"accuracy": math.nan}}, "finite number"),
        ({"maximum_loss": {"accuracy": math.inf}}, "finite number"),
        ({"maximum_loss": {"accuracy": 10**400}}, r"must be in \[0, 1\)"),
        ({"maximum_loss": {"accuracy": True}}, "finite number"),
        ({"maximum_loss": {"accuracy": None}}, "finite number"),
        ({"maximum_loss": {"brier_score": 2}}, r"in \[0, 2\)"),
        ({"maximum_latency_ratio": 110}, "at most 10"),
        ({"maximum_latency_ratio": math.nan}, "maximum_latency_ratio=nan"),
        ({"minimum_images": 500.5, "sanity": "all"}, "minimum_images=500.5"),
        ({"minimum_images": True, "sanity": "all"}, "minimum_images=True"),
        ({"maximum_loss": ["accuracy"]}, "must map figures to numbers"),
    ],
)
def test_what_lies_outside_a_range_is_refused(rules: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(**rules)


def test_what_lies_inside_is_taken() -> None:
    Policy(maximum_loss={"accuracy": 0, "brier_score": 1.5, "training_images_per_second": 300})
    Policy(minimum_gain={"accuracy": -0.02, "training_images_per_second": -300})


@pytest.mark.parametrize(
    "text",
    [
        "maximum_loss: {accuracy: 0.02, accuracy: 0.5}",
        "maximum_loss: {accuracy: 0.02}\nmaximum_loss: {accuracy: 0.5}",
    ],
)
def test_a_key_that_is_given_twice_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"policy\.yaml: key .* is given twice"):
        read_policy(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"policy .*typo\.yaml does not exist"):
        read_policy(tmp_path / "typo.yaml")


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f"maximum_loss: {text}".encode()))
def test_whatever_the_file_holds_ends_in_a_policy_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_bytes(content)
    try:
        policy = read_policy(path)
    except ValueError:
        return
    assert all(0 <= bound < 1 for bound in policy.maximum_loss.values())
