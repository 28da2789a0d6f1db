"""``adsr promote decision.json --to FOLDER``."""

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import decision_parser


def run(words: list[str]) -> int:
    """Put the candidate of a decision into the folder that is served."""
    parser = decision_parser(
        prog="adsr promote",
        description="Serve the candidate of a decision of `adsr gate`. The folder must serve the model that the "
        "candidate was judged against; that one is kept whole beside it, for `adsr rollback`. The switch is one step: "
        "whenever it is killed, the folder serves the old or the new model. Doing it twice changes nothing.",
    )
    parser.add_argument(
        "--override",
        metavar="REASON",
        default=None,
        help="promote although the decision is not to; the reason is written into FOLDER/served.json",
    )
    arguments = parser.parse_args(words)
    from adsr_hf.decision.decision_file import read_decision
    from adsr_hf.decision.promote import promote

    decision = read_decision(arguments.decision)
    switch = promote(decision, arguments.to, override=arguments.override)
    if switch is None:
        print(f"{arguments.to}: {decision.candidate_model.name} is there already, nothing to do")
    else:
        print(
            f"{arguments.to} serves {decision.candidate_model.name}\n  the former model is kept in {switch.former}; "
            f"back to it: adsr rollback {arguments.decision} --to {arguments.to}"
        )
    return OK
