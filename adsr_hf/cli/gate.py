"""``adsr gate CANDIDATE CURRENT --policy gate.yaml``."""

from pathlib import Path

from adsr_hf.cli.options import OptionParser
from adsr_hf.errors import UsageError


def run(words: list[str]) -> int:
    """Decide, write decision.json, and return 0 (promote), 3 (keep) or 2 (not decidable)."""
    parser = OptionParser(
        prog="adsr gate",
        description="Decide by a policy whether a candidate replaces the current model. Exit status: 0 promote, 3 "
        "keep the current model, 2 not decidable with these images; 1 an error, and nothing is decided.",
    )
    runs = "a folder that `adsr evaluate` or `adsr train` wrote; several seeds are joined by commas"
    parser.add_argument("candidate", help=runs)
    parser.add_argument("current", help=f"the model in use: {runs}")
    parser.add_argument("--policy", type=Path, required=True, help="YAML file; see recipes/gates/default.yaml")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("decision.json"),
        help="file to write; an older one is removed first",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    try:
        arguments = parser.parse_args(words)
    except UsageError as error:
        # The status of a mistyped command, 2, would read as a decision.
        raise ValueError(str(error)) from error
    return _decide(arguments.candidate, arguments.current, arguments.policy, arguments.output, arguments.seed)


def _decide(candidate_name: str, current_name: str, policy_path: Path, output: Path, seed: int) -> int:
    from dataclasses import asdict

    from adsr_hf.decision.arms import read_arm
    from adsr_hf.decision.compare import compare
    from adsr_hf.decision.gate import EXIT_STATUS, decide
    from adsr_hf.decision.policy import read_policy
    from adsr_hf.decision.rollback import rollback_point
    from adsr_hf.files import write_json

    # After an error nobody may take the last decision for this one.
    output.unlink(missing_ok=True)
    policy = read_policy(policy_path)
    candidate, current = read_arm(candidate_name.split(",")), read_arm(current_name.split(","))
    comparison = compare(candidate, current, latency=policy.maximum_latency_ratio is not None, seed=seed)
    decision, outcomes = decide(policy, comparison, candidate)
    for one in outcomes:
        print(f"  {one.outcome:<14} {one.rule}: {one.words}")
    point = rollback_point(current.members[0])
    write_json(
        output,
        {
            "schema_version": 1,
            "kind": "decision",
            "decision": decision,
            "exit_status": EXIT_STATUS[decision],
            "policy": {"file": str(policy_path), **asdict(policy)},
            "rules": [one.as_dict() for one in outcomes],
            "candidate": [str(member.folder.resolve()) for member in candidate.members],
            "current": [str(member.folder.resolve()) for member in current.members],
            "rollback_point": point.as_dict(),
            "comparison": comparison.as_dict(),
        },
    )
    place = point.path or f"{point.hub_name} at {point.revision}"
    stays = "stays" if decision != "promote" else "is the rollback point"
    print(f"{decision.upper()}   {place} (sha256 {point.model_sha256[:16]}) {stays}; decision: {output}")
    return EXIT_STATUS[decision]
