"""``adsr gate CANDIDATE CURRENT --policy gate.yaml``."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from adsr_hf.cli.compare import majority_lines, printable
from adsr_hf.cli.options import OptionParser
from adsr_hf.evaluation.figure_names import is_class_accuracy
from adsr_hf.settings.errors import UsageError

if TYPE_CHECKING:
    from adsr_hf.decision.arms import Arm
    from adsr_hf.decision.gate import RuleOutcome

_MOST_CLASS_LINES = 12


def run(words: list[str]) -> int:
    """Decide, write decision.json, and return 0 (promote), 3 (keep) or 2 (not decidable)."""
    parser = OptionParser(
        prog="adsr gate",
        description="Decide by a policy whether a candidate replaces the current model. Exit status: 0 promote, 3 "
        "keep the current model, 2 not decidable with these images; 1 an error, and nothing is decided.",
    )
    runs = "a folder that `adsr evaluate` or `adsr train` wrote; several seeds are joined by commas, and the first is"
    parser.add_argument("candidate", help=f"{runs} what `adsr promote` would serve")
    parser.add_argument("current", help=f"the model in use: {runs} what is served")
    parser.add_argument("--policy", type=Path, required=True, help="YAML file; see recipes/gates/default.yaml")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("decision.json"),
        help="file to write; an older one is replaced by a new decision, and left as it is by an error",
    )
    try:
        arguments = parser.parse_args(words)
    except UsageError as error:
        # The status of a mistyped command, 2, would read as a decision.
        raise ValueError(str(error)) from error
    try:
        return _decide(arguments.candidate, arguments.current, arguments.policy, arguments.output)
    except Exception:
        if arguments.output.exists():
            print(f"adsr: nothing was decided; {arguments.output} is an earlier decision", file=sys.stderr)
        raise


def _accuracies(candidate: "Arm", current: "Arm") -> str:
    candidate_figures, current_figures = (
        ", ".join(f"{100 * member.records.figure('accuracy'):.1f}" for member in arm.members)
        for arm in (candidate, current)
    )
    return f"  accuracy in percent: candidate {candidate_figures}, current {current_figures}"


def _outcome_lines(outcomes: "list[RuleOutcome]") -> list[str]:
    """One line each; of many classes only those that keep the candidate back, and the largest loss of the others."""
    of_classes = [rule for rule in outcomes if rule.rule == "maximum_loss" and is_class_accuracy(rule.figure)]
    quiet = [rule for rule in of_classes if rule.outcome in ("pass", "no evidence")]
    if len(of_classes) <= _MOST_CLASS_LINES:
        quiet = []
    lines = [f"  {rule.outcome:<14} {rule.rule}: {rule.words}" for rule in outcomes if rule not in quiet]
    for outcome in ("pass", "no evidence"):
        of_outcome = [rule for rule in quiet if rule.outcome == outcome]
        if of_outcome:
            widest = min(of_outcome, key=lambda rule: rule.interval[0] if rule.interval else 0.0)
            lines.append(
                f"  {outcome:<14} maximum_loss: {len(of_outcome)} figures of classes, all of them in the decision's "
                f"file; the lowest interval: {widest.words}"
            )
    return lines


def _decide(candidate_name: str, current_name: str, policy_path: Path, output: Path) -> int:
    from adsr_hf.decision.arms import read_arm
    from adsr_hf.decision.compare import compare
    from adsr_hf.decision.decision_file import write_decision
    from adsr_hf.decision.gate import EXIT_STATUS, decide
    from adsr_hf.decision.policy import read_policy
    from adsr_hf.decision.stored_model import stored_model

    policy = read_policy(policy_path)
    candidate, current = read_arm(candidate_name.split(",")), read_arm(current_name.split(","))
    candidate_model, *_ = [stored_model(member) for member in candidate.members]
    rollback_point, *_ = [stored_model(member) for member in current.members]
    ratio = policy.maximum_latency_ratio
    comparison = compare(candidate, current, latency=ratio is not None, latency_bound=ratio)
    decision, outcomes = decide(policy, comparison, candidate)
    print(printable([_accuracies(candidate, current), *majority_lines(comparison), *_outcome_lines(outcomes)]))
    write_decision(
        output,
        {
            "decision": decision,
            "policy": {"file": str(policy_path), **asdict(policy)},
            "rules": [rule.as_dict() for rule in outcomes],
            "candidate": [str(member.folder.resolve()) for member in candidate.members],
            "current": [str(member.folder.resolve()) for member in current.members],
            "comparison": comparison.as_dict(),
        },
        candidate_model,
        rollback_point,
    )
    print(f"{decision.upper()}   written to {output}")
    if decision == "promote":
        print(
            f"  adsr promote {output} --to FOLDER  serves {candidate_model.name} and keeps the former model;\n"
            f"  copied over it by hand, {rollback_point.name} is lost, and nothing to return to is left"
        )
    else:
        print(f"  {rollback_point.name} stays")
    return EXIT_STATUS[decision]
