"""An average hides a class, and the most frequent class passes for knowledge: the gate lets neither through."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from adsr_hf.cli.main import main
from adsr_hf.decision.arms import read_arm
from adsr_hf.decision.compare import compare
from adsr_hf.decision.gate import RuleOutcome, decide
from adsr_hf.decision.policy import Policy, read_policy
from tests.evaluation.fake_records import write_fake_run

ROOT = Path(__file__).parents[2]
EVERY_CLASS = {"class_accuracy/*": 0.02, "*/class_robust_accuracy/*": 0.0}


def outcomes(new: Path, old: Path, policy: Policy) -> tuple[str, dict[str, RuleOutcome]]:
    first, second = read_arm([str(new)]), read_arm([str(old)])
    decision, found = decide(policy, compare(first, second, latency=False), first)
    return decision, {one.figure: one for one in found}


def inspected(folder: Path, *, seed: int, robust: float, **others: object) -> Path:
    """A run on photos of which two in three are good and one in three is defective."""
    settings = {"images": 1500, "class_names": ["good", "defective"], "class_shares": [0.68, 0.32], "accuracy": 0.85}
    return write_fake_run(
        folder,
        train_seed=seed,
        num_classes=2,
        robust={"Linf 8/255": robust},
        noise_accuracy=None,
        **(settings | others),  # type: ignore[arg-type]
    )


def test_a_gain_that_one_class_pays_for_is_not_promoted(tmp_path: Path) -> None:
    old = inspected(tmp_path / "old", seed=1, robust=0.4)
    new = inspected(tmp_path / "new", seed=2, robust=0.6, class_hardness=[-0.7, 1.5])
    average = {"minimum_gain": {"*/robust_accuracy": 0.0}, "maximum_loss": {"accuracy": 0.05}}
    assert outcomes(new, old, Policy(**average))[0] == "promote"
    average["maximum_loss"] |= EVERY_CLASS
    decision, found = outcomes(new, old, Policy(**average))
    assert decision == "keep"
    assert found["class_accuracy/defective"].outcome == "fail"
    assert found["class_accuracy/good"].outcome == "pass"


def test_more_missed_defects_are_a_loss(tmp_path: Path) -> None:
    """An error rate is better when it is lower; what is missed is named, and must be shown not to rise."""
    old = inspected(tmp_path / "old", seed=1, robust=0.4, positive_class="defective")
    new = inspected(tmp_path / "new", seed=2, robust=0.6, positive_class="defective", class_hardness=[-0.7, 1.5])
    missed, alarm = "missed_rate", "false_alarm_rate"
    decision, found = outcomes(new, old, Policy(maximum_loss={missed: 0.02, alarm: 0.02}))
    assert (decision, found[missed].outcome, found[alarm].outcome) == ("keep", "fail", "pass")
    loss = found[missed].measured
    assert loss is not None
    assert loss < -0.02
    decision, found = outcomes(old, new, Policy(maximum_loss={missed: 0.02, f"Linf 8/255/robust_{missed}": 0.5}))
    assert (decision, found[missed].outcome) == ("promote", "pass")


def test_a_gain_of_both_classes_is_promoted(tmp_path: Path) -> None:
    old = inspected(tmp_path / "old", seed=1, robust=0.4)
    new = inspected(tmp_path / "new", seed=2, robust=0.6)
    policy = read_policy(ROOT / "recipes" / "gates" / "default.yaml")
    rules = {"minimum_gain": policy.minimum_gain, "maximum_loss": policy.maximum_loss, "sanity": policy.sanity}
    decision, found = outcomes(new, old, Policy(**rules))
    assert decision == "promote"
    assert {found[f"Linf 8/255/class_robust_accuracy/{name}"].outcome for name in ("good", "defective")} == {"pass"}


def test_few_images_of_a_class_keep_nothing_back_unless_it_is_named(tmp_path: Path) -> None:
    old, new = (
        write_fake_run(tmp_path / name, robust={"Linf 8/255": share}, num_classes=10, images=400, train_seed=seed)
        for seed, (name, share) in enumerate([("old", 0.3), ("new", 0.6)])
    )
    rules = {"minimum_gain": {"*/robust_accuracy": 0.0}}
    decision, found = outcomes(new, old, Policy(**rules, maximum_loss={"class_accuracy/*": 0.02}))
    assert decision == "promote"
    few = [one for name, one in found.items() if name.startswith("class_accuracy/")]
    assert len(few) == 10
    assert "no evidence" in {one.outcome for one in few}
    name = next(one.figure for one in few if one.outcome == "no evidence")
    decision, found = outcomes(new, old, Policy(**rules, maximum_loss={name: 0.02}))
    assert (decision, found[name].outcome) == ("not decidable", "not decidable")


def test_a_loss_that_only_the_correction_excuses_is_not_decidable(tmp_path: Path) -> None:
    old = inspected(tmp_path / "old", seed=1, robust=0.4)
    new = inspected(tmp_path / "new", seed=2, robust=0.6, class_hardness=[-0.7, 1.5])
    arms = read_arm([str(new)]), read_arm([str(old)])
    comparison = compare(*arms, latency=False)
    excused = tuple(replace(delta, verdict="no evidence") for delta in comparison.deltas)
    policy = Policy(maximum_loss={"class_accuracy/*": 0.02})
    assert decide(policy, comparison, arms[0])[0] == "keep"
    assert decide(policy, replace(comparison, deltas=excused), arms[0])[0] == "not decidable"


def test_a_class_may_be_called_like_a_figure_or_a_pattern(tmp_path: Path) -> None:
    names = ["robust_accuracy", "a*[b]", "x/ece", "accuracy"]
    old, new = (
        write_fake_run(tmp_path / name, class_names=names, robust={"Linf 8/255": 0.5}, train_seed=seed)
        for seed, name in enumerate(("old", "new"))
    )
    _, found = outcomes(new, old, Policy(minimum_gain={"*/robust_accuracy": -0.5}, maximum_loss={"accuracy": 0.5}))
    assert not [name for name in found if "class_" in name]
    _, found = outcomes(new, old, Policy(maximum_loss={f"class_accuracy/{names[1]}": 0.5}))
    assert [name for name in found if "class_" in name] == [f"class_accuracy/{names[1]}"]


@pytest.mark.parametrize(
    ("accuracy", "status", "outcome"), [(0.9, 0, "pass"), (0.66, 2, "not decidable"), (0.5, 3, "fail")]
)
def test_the_candidate_must_beat_the_most_frequent_class(
    tmp_path: Path, accuracy: float, status: int, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = (
        inspected(tmp_path / name, seed=seed, robust=0.4, accuracy=accuracy, images=600)
        for seed, name in enumerate(("old", "new"))
    )
    policy = {"maximum_loss": {"accuracy": 0.5}}
    for off in (False, True):
        path = tmp_path / "policy.yaml"
        path.write_text(yaml.safe_dump(policy | ({"beats_majority": False} if off else {})))
        arms = [str(new), str(old)]
        found = main(["gate", *arms, "--policy", str(path), "--output", str(tmp_path / "decision.json")])
        assert found == (0 if off else status)
        share = json.loads((new / "evaluation" / "summary.json").read_text())["majority"]["share"]
        told = capsys.readouterr().out
        assert f"accuracy in percent: candidate {100 * accuracy:.1f}, current {100 * accuracy:.1f}\n" in told
        assert f"always 'good': {100 * share:.1f}" in told
        assert "under Linf 8/255 the accuracy of the candidate model is not shown to be above" in told
        rules = {one["rule"]: one["outcome"] for one in json.loads((tmp_path / "decision.json").read_text())["rules"]}
        assert rules.get("beats_majority") == (None if off else outcome)


def test_many_classes_take_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = (
        write_fake_run(tmp_path / name, num_classes=30, images=600, train_seed=seed)
        for seed, name in enumerate(("old", "new"))
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({"maximum_loss": EVERY_CLASS}))
    output = tmp_path / "decision.json"
    main(["gate", str(new), str(old), "--policy", str(policy), "--output", str(output)])
    assert len(capsys.readouterr().out.splitlines()) < 20
    assert len([one for one in json.loads(output.read_text())["rules"] if "class" in one["figure"]]) == 30 * 3


def test_a_class_name_commands_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["\x1b[2J", "b", "c", "d"]
    old, new = (
        write_fake_run(tmp_path / name, class_names=names, train_seed=seed) for seed, name in enumerate(("old", "new"))
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({"maximum_loss": EVERY_CLASS}))
    main(["gate", str(new), str(old), "--policy", str(policy), "--output", str(tmp_path / "decision.json")])
    told = capsys.readouterr().out
    assert "class_accuracy/?[2J" in told
    assert "\x1b" not in told


@pytest.mark.slow
def test_equal_models_are_seldom_kept_back_for_a_class(tmp_path: Path) -> None:
    """Ten classes, clean and under attack: 20 looks at models of which none is worse."""
    kept = 0
    for trial in range(30):
        old, new = (
            write_fake_run(
                tmp_path / f"{name}{trial}", num_classes=10, images=400, train_seed=2 * trial + seed, data_seed=trial,
                robust={"Linf 8/255": 0.5}, noise_accuracy=None, temperature=None, correlation=0.3,
            )
            for seed, name in enumerate(("old", "new"))
        )  # fmt: skip
        kept += outcomes(new, old, Policy(maximum_loss=EVERY_CLASS))[0] == "keep"
    # 30 draws at 5%: six or more have a chance of 0.3%.
    assert kept <= 5


def test_a_rate_that_was_not_measured_says_how_to_measure_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, old = (str(write_fake_run(tmp_path / name, train_seed=seed)) for seed, name in enumerate(("new", "old")))
    path = tmp_path / "policy.yaml"
    path.write_text("maximum_loss: {missed_rate: 0.1}\n")
    assert main(["gate", new, old, "--policy", str(path), "--output", str(tmp_path / "decision.json")]) == 1
    assert "measure it with adsr evaluate --positive_class CLASS, or choose among" in capsys.readouterr().err
