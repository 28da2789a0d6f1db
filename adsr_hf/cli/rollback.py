"""``adsr rollback decision.json --to FOLDER``."""

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import decision_parser


def run(words: list[str]) -> int:
    """Put the model that a decision names as its rollback point back into the folder that is served."""
    parser = decision_parser(
        prog="adsr rollback",
        description="Return to the model that a decision of `adsr gate` names as the rollback point, from where it "
        "was measured or from what `adsr promote` kept. Its sha256 is checked before and after; what is served until "
        "then is kept beside the folder; doing it twice changes nothing.",
    )
    arguments = parser.parse_args(words)
    from adsr_hf.decision.decision_file import read_decision
    from adsr_hf.decision.rollback import roll_back

    decision = read_decision(arguments.decision)
    switch = roll_back(decision, arguments.to)
    if switch is None:
        print(f"{arguments.to}: {decision.rollback_point.name} is there already, nothing to do")
    else:
        former = "" if switch.former is None else f"\n  what was served until now is kept in {switch.former}"
        print(f"{arguments.to} serves {decision.rollback_point.name} again{former}")
    return OK
