"""``adsr rollback decision.json --to FOLDER``."""

import json
from pathlib import Path

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import OptionParser


def run(words: list[str]) -> int:
    """Put the model that a decision names as its rollback point back into the folder that is served."""
    parser = OptionParser(
        prog="adsr rollback",
        description="Return to the model that a decision of `adsr gate` names as the rollback point. Its sha256 is "
        "checked before and after; doing it twice changes nothing.",
    )
    parser.add_argument("decision", type=Path, help="decision.json, as adsr gate wrote it")
    parser.add_argument("--to", type=Path, required=True, help="folder that the model is served from")
    arguments = parser.parse_args(words)
    from adsr_hf.decision.rollback import RollbackError, RollbackPoint, restore

    try:
        decision = json.loads(arguments.decision.read_text(encoding="utf-8"))
        point = RollbackPoint.from_dict(decision["rollback_point"])
    except (OSError, ValueError, KeyError, TypeError, RollbackError) as error:
        raise ValueError(
            f"{arguments.decision} is not a decision of adsr gate ({error}); name the decision.json that it wrote"
        ) from error
    changed = restore(point, arguments.to)
    state = "restored" if changed else "there already, nothing to do"
    print(f"{arguments.to}: model {point.model_sha256[:16]} {state}")
    return OK
