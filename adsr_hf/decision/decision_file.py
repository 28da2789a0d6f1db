"""decision.json: what a gate decided, written whole and read as a stranger's file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adsr_hf.decision.gate import EXIT_STATUS, Decision
from adsr_hf.decision.stored_model import StoredModel, StoredModelError
from adsr_hf.records.files import write_json
from adsr_hf.records.json_shapes import read_object

KIND = "decision"
SCHEMA_VERSION = 2
_TYPES = {
    "schema_version": int,
    "kind": str,
    "decision": str,
    "exit_status": int,
    "policy": dict,
    "rules": list,
    "candidate": list,
    "current": list,
    "candidate_model": dict,
    "rollback_point": dict,
    "comparison": dict,
}


class DecisionError(ValueError):
    """A file that is no decision of ``adsr gate``, or a damaged one."""


@dataclass(frozen=True)
class Decided:
    """What ``adsr promote`` and ``adsr rollback`` need of a decision.

    Attributes:
        file: that it was read from.
        decision: ``"promote"``, ``"keep"`` or ``"not decidable"``.
        candidate_model: the model that was judged.
        rollback_point: the model that it was judged against.
    """

    file: Path
    decision: Decision
    candidate_model: StoredModel
    rollback_point: StoredModel


def read_decision(path: Path) -> Decided:
    """Read the decision.json of a gate.

    Raises:
        DecisionError: when it is missing, damaged, of another kind or schema, or any value is not what it must be.
    """
    if not path.is_file():
        raise DecisionError(f"there is no file {path}; name the decision.json that adsr gate wrote (its --output)")
    try:
        # What is not acted on, such as a throughput that nobody could measure, may be NaN.
        return _checked(path, read_object(path, nan=True))
    except ValueError as error:
        raise DecisionError(
            f"{path} is not a decision of adsr gate: {error}; name the decision.json that it wrote, or run the gate "
            "again"
        ) from error


def write_decision(
    path: Path, content: dict[str, Any], candidate_model: StoredModel, rollback_point: StoredModel
) -> None:
    """Write a decision.json whole, or leave what is there as it is.

    Args:
        content: ``decision`` with ``policy``, ``rules``, ``candidate``, ``current`` and ``comparison``, JSON values.
    """
    models = {"candidate_model": candidate_model.as_dict(), "rollback_point": rollback_point.as_dict()}
    facts = {"schema_version": SCHEMA_VERSION, "kind": KIND, "exit_status": EXIT_STATUS[content["decision"]]}
    write_json(path, facts | content | models)


def _checked(path: Path, content: dict[str, Any]) -> Decided:
    if content.get("kind") != KIND:
        raise ValueError(f"its kind is not {KIND!r}")
    version = content.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ValueError(f"its schema_version is {version!r}, and this version reads {SCHEMA_VERSION}")
    for key in sorted({*content, *_TYPES}):
        if key not in content or key not in _TYPES:
            raise ValueError(f"the key {key!r} is {'missing' if key in _TYPES else 'unknown'}")
        if type(content[key]) is not _TYPES[key]:
            raise ValueError(f"{key} is of type {type(content[key]).__name__}, but must be {_TYPES[key].__name__}")
    decision = content["decision"]
    if decision not in EXIT_STATUS or content["exit_status"] != EXIT_STATUS[decision]:
        raise ValueError(
            f"decision={decision!r} with exit_status={content['exit_status']} must be one of "
            + ", ".join(f"{name} ({status})" for name, status in EXIT_STATUS.items())
        )
    models = {}
    for key in ("candidate_model", "rollback_point"):
        try:
            models[key] = StoredModel.from_dict(content[key])
        except StoredModelError as error:
            raise ValueError(f"its {key} is wrong: {error}") from error
    return Decided(path, decision, **models)
