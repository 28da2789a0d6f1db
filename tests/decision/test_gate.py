"""The gate's three exits and its errors, through the command; and whether the images that it asks for would do."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from adsr_hf.cli.main import main
from adsr_hf.decision.arms import read_arm
from adsr_hf.decision.compare import compare
from adsr_hf.decision.gate import decide
from adsr_hf.decision.policy import Policy, read_policy
from tests.evaluation.fake_records import write_fake_run

ROOT = Path(__file__).parents[2]
POLICY = {"minimum_gain": {"Linf 8/255/robust_accuracy": 0.02}, "maximum_loss": {"accuracy": 0.05}}


def runs(tmp_path: Path, robust: float, images: int = 1500, **others: object) -> list[str]:
    threats = {"Linf 8/255": robust}
    new = write_fake_run(tmp_path / "new", robust=threats, images=images, train_seed=1, **others)  # type: ignore[arg-type]
    old = write_fake_run(tmp_path / "old", robust={"Linf 8/255": 0.4}, images=images, train_seed=2)
    return [str(new), str(old)]


def gate(tmp_path: Path, arms: list[str], policy: object) -> int:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(policy))
    return main(["gate", *arms, "--policy", str(path), "--output", str(tmp_path / "decision.json")])


@pytest.mark.parametrize(
    ("robust", "images", "status", "decision"),
    [(0.6, 1500, 0, "promote"), (0.3, 1500, 3, "keep"), (0.44, 300, 2, "not decidable")],
)
def test_three_exits(
    tmp_path: Path, robust: float, images: int, status: int, decision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = runs(tmp_path, robust, images)
    assert gate(tmp_path, arms, POLICY) == status
    written = json.loads((tmp_path / "decision.json").read_text())
    assert written["decision"] == decision
    assert written["exit_status"] == status
    rules = {"minimum_images", "beats_majority", "minimum_gain", "maximum_loss"}
    assert {rule["rule"] for rule in written["rules"]} == rules
    assert written["rollback_point"]["path"] == str(Path(arms[1]).resolve())
    assert set(written["rollback_point"]["sha256"]) == {"config.json", "model.safetensors"}
    assert decision.upper() in capsys.readouterr().out


def test_one_failure_outweighs_an_open_rule(tmp_path: Path) -> None:
    arms = runs(tmp_path, 0.44, 300, accuracy=0.7)
    assert gate(tmp_path, arms, POLICY) == 3


def test_too_few_images_are_not_decidable(tmp_path: Path) -> None:
    assert gate(tmp_path, runs(tmp_path, 0.6, 200), POLICY | {"minimum_images": 5000}) == 2


def test_sanity_verdicts_must_pass(tmp_path: Path) -> None:
    policy = POLICY | {"sanity": "all"}
    assert gate(tmp_path, runs(tmp_path / "a", 0.6), policy) == 0
    assert gate(tmp_path, runs(tmp_path / "b", 0.6, sanity={"deterministic": "fail"}), policy) == 3
    unknown = {"deterministic": "not applicable"}
    assert gate(tmp_path, runs(tmp_path / "c", 0.6, sanity=unknown), policy) == 2
    assert gate(tmp_path, runs(tmp_path / "d", 0.6, sanity=unknown), POLICY | {"sanity": ["deterministic"]}) == 2


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"minimum_gian": {"accuracy": 0}}, "did you mean 'minimum_gain'"),
        ({"minimum_gain": {"Linf 2/255/robust_accuracy": 0}}, "'Linf 2/255/robust_accuracy', which was not measured"),
        ({"maximum_loss": {"acuracy": 0}}, "did you mean 'accuracy'?"),
        ({"sanity": ["no such verdict"]}, "were not judged; choose among"),
        ({"maximum_loss": {"accuracy": -0.1}}, "maximum_loss of accuracy is -0.1"),
        ({"minimum_gain": {"accuracy": "much"}}, "minimum_gain of accuracy is 'much'"),
        ({"minimum_images": 0, "sanity": "all"}, "minimum_images=0"),
        ({"sanity": "some"}, "sanity='some'"),
        ({"minimum_images": 10}, "the policy has no rule"),
        ({"sanity": 3}, "sanity=3"),
        ({"minimum_gain": {1: 0.1}}, "the key 1"),
        ({"maximum_latency_ratio": True}, "maximum_latency_ratio=True"),
        ({"minimum_gain": {"Linf 8/255/square/robust_accuracy": 0}}, "it is Linf 8/255/robust_accuracy by definition"),
        (["accuracy"], "must map field names to values"),
        ({"maximum_latency_ratio": 1.1}, "cannot be loaded to measure their latency"),
    ],
)
def test_errors_exit_1_and_decide_nothing(
    tmp_path: Path, policy: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(tmp_path, runs(tmp_path, 0.6, 100), policy) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "decision.json").exists()


@pytest.mark.parametrize("policy", [{"minimum_gain": {"no such figure": 0}}, {"minimum_gian": {"accuracy": 0.1}}])
def test_an_error_leaves_an_earlier_decision_and_says_so(
    tmp_path: Path, policy: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names a rollback point, which may be the only one."""
    arms = runs(tmp_path, 0.6)
    assert gate(tmp_path, arms, POLICY) == 0
    before = (tmp_path / "decision.json").read_bytes()
    assert gate(tmp_path, arms, policy) == 1
    assert (tmp_path / "decision.json").read_bytes() == before
    assert "nothing was decided" in capsys.readouterr().err


def test_weights_that_were_not_measured_are_not_promoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pickled weights beside records of another model: their hash is in no record."""
    arms = runs(tmp_path, 0.6)
    (tmp_path / "new" / "model.safetensors").rename(tmp_path / "new" / "pytorch_model.bin")
    assert gate(tmp_path, arms, POLICY) == 1
    assert "has pickled weights (pytorch_model.bin)" in capsys.readouterr().err
    assert not (tmp_path / "decision.json").exists()


@pytest.mark.parametrize("arm", ["new", "old"])
@pytest.mark.parametrize("files", [None, {}, {"config.json": "0" * 64}, "all", {"config.json": None}])
def test_records_that_do_not_name_every_measured_file_decide_nothing(
    tmp_path: Path, arm: str, files: object, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = runs(tmp_path, 0.6)
    path = tmp_path / arm / "evaluation" / "summary.json"
    summary = json.loads(path.read_text())
    summary["model"]["files"] = files
    path.write_text(json.dumps(summary))
    assert gate(tmp_path, arms, POLICY) == 1
    assert "evaluat" in capsys.readouterr().err
    assert not (tmp_path / "decision.json").exists()


def test_every_run_of_both_arms_must_be_what_was_measured(tmp_path: Path) -> None:
    new, *old = (
        write_fake_run(tmp_path / name, robust={"Linf 8/255": share}, images=900, train_seed=seed)
        for seed, (name, share) in enumerate([("new", 0.6), ("old", 0.4), ("other", 0.4)])
    )
    arms = [str(new), ",".join(map(str, old))]
    assert gate(tmp_path, arms, POLICY) == 0
    (tmp_path / "decision.json").unlink()
    (old[1] / "model.safetensors").write_bytes(b"other weights")
    assert gate(tmp_path, arms, POLICY) == 1
    assert not (tmp_path / "decision.json").exists()


@pytest.mark.parametrize("published", [[False], [True, False]])
def test_weights_that_cannot_be_shipped_are_not_promoted(
    tmp_path: Path, published: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    """A good teacher beside a model.safetensors that holds another network."""
    old = write_fake_run(tmp_path / "old", robust={"Linf 8/255": 0.4}, images=900, train_seed=9)
    new = [
        write_fake_run(
            tmp_path / f"new{seed}",
            robust={"Linf 8/255": 0.6},
            images=900,
            train_seed=seed,
            weights="teacher",
            published=one,
        )
        for seed, one in enumerate(published)
    ]
    assert gate(tmp_path, [",".join(map(str, new)), str(old)], POLICY) == 1
    told = capsys.readouterr().err
    assert f"{new[-1]} measured the teacher" in told
    assert "publish: teacher" in told
    assert not (tmp_path / "decision.json").exists()


def test_every_seed_must_be_sane(tmp_path: Path) -> None:
    good, bad, old = (
        str(write_fake_run(tmp_path / name, robust={"Linf 8/255": share}, images=900, train_seed=seed, sanity=sanity))
        for name, share, seed, sanity in (
            ("good", 0.6, 1, {"deterministic": "pass"}),
            ("bad", 0.6, 2, {"deterministic": "fail"}),
            ("old", 0.4, 3, None),
        )
    )
    assert gate(tmp_path, [f"{good},{bad}", old], POLICY | {"sanity": "all"}) == 3


@pytest.mark.parametrize("names", [("typo", "old"), ("new", "typo"), ("new,", "old"), ("", "old")])
def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, names: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs(tmp_path, 0.6, 100)
    arms = [",".join(str(tmp_path / one) if one else "" for one in name.split(",")) for name in names]
    assert gate(tmp_path, arms, POLICY) == 1
    told = capsys.readouterr().err
    assert "there is no folder" in told
    assert "Errno" not in told


def test_a_mistyped_command_is_no_decision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "a", "b"]) == 1
    assert "--policy" in capsys.readouterr().err


def test_the_default_policy_is_valid() -> None:
    policy = read_policy(ROOT / "recipes" / "gates" / "default.yaml")
    assert policy.minimum_gain == {"*/robust_accuracy": 0.0}
    assert policy.sanity == "all"


@pytest.mark.slow
def test_as_many_images_as_it_asks_for_decide_four_times_in_five(tmp_path: Path) -> None:
    gain = 0.05
    policy = Policy(minimum_gain={"accuracy": 0.02})

    def decided(folder: Path, images: int, seed: int) -> tuple[str, int | None]:
        new, old = (
            write_fake_run(folder / name, images=images, accuracy=share, train_seed=own, data_seed=seed)
            for name, share, own in (("new", 0.8 + gain, 2 * seed), ("old", 0.8, 2 * seed + 1))
        )
        first, second = read_arm([str(new)]), read_arm([str(old)])
        decision, outcomes = decide(policy, compare(first, second, latency=False), first)
        return decision, outcomes[-1].images_needed

    decision, needed = decided(tmp_path / "few", 200, 0)
    assert decision == "not decidable"
    assert needed is not None
    assert 300 < needed < 5000
    many = [decided(tmp_path / f"many{seed}", needed, seed)[0] for seed in range(1, 8)]
    few = [decided(tmp_path / f"few{seed}", needed // 8, seed)[0] for seed in range(1, 8)]
    assert np.mean([one == "promote" for one in many]) >= 0.5
    assert np.mean([one == "promote" for one in few]) <= 0.5
