"""Studies that a page shows, read from their study.json."""

from pathlib import Path
from typing import Any, get_args

from adsr_hf.decision.deltas import Verdict
from adsr_hf.decision.differences import Scope
from adsr_hf.records import json_shapes as shape
from adsr_hf.records.json_shapes import ShapeError, read_object
from adsr_hf.records.sentences import check_recorded
from adsr_hf.settings.errors import RecordsError
from adsr_hf.study.results import KIND, RECORD_FILE, SCHEMA_VERSION, PlanWritten, figure_names

_FIGURE = shape.fields(
    {"mean": shape.number(), "spread": shape.optional(shape.number(0))},
    {"calibrated_level": shape.number(0, 1), "class": shape.text, "figure": shape.text},
)
_TEST = shape.fields(
    {
        "delta": shape.number(),
        "interval": shape.list_of(shape.number(), length=2),
        "adjusted_p_value": shape.number(0, 1),
        "verdict": shape.one_of(*get_args(Verdict)),
        "scope": shape.one_of(*get_args(Scope)),
    }
)
_ROW = shape.fields(
    {
        "name": shape.text,
        "seeds": shape.list_of(shape.whole_number(0)),
        "unfinished_seeds": shape.list_of(shape.whole_number(0)),
        "figures": shape.mapping_of(_FIGURE),
        "majority_not_beaten": shape.list_of(shape.text),
        "against_baseline": shape.mapping_of(_TEST),
        "not_compared": shape.optional(check_recorded),
    }
)
_VARIANT = shape.fields(
    {
        "name": shape.text,
        "threats": shape.list_of(shape.text),
        "attacks": shape.list_of(shape.fields({"name": shape.text})),
        "images": shape.whole_number(0),
        # None where no cell has finished.
        "majority": shape.optional(shape.fields({"class": shape.text, "share": shape.number(0, 1)})),
        "figures": shape.list_of(shape.text),
        "rows": shape.list_of(_ROW),
    }
)
_RECORD = shape.fields(
    {
        "title": shape.text,
        "plan": shape.text,
        "plan_written": shape.one_of(*get_args(PlanWritten)),
        "command": shape.text,
        "baseline": shape.optional(shape.text),
        "seeds": shape.list_of(shape.whole_number(0)),
        "machine": shape.optional(shape.text),
        "variants": shape.list_of(_VARIANT),
        "unfinished": shape.list_of(shape.fields({"name": shape.text, "error": shape.optional(shape.text)})),
    }
)


def is_study(name: str) -> bool:
    """Whether a study is meant rather than a run: its folder, or its study.json."""
    path = Path(name)
    return path.name == RECORD_FILE or (path / RECORD_FILE).is_file()


def read_study_record(name: str) -> dict[str, Any]:
    """What ``adsr study`` wrote.

    Args:
        name: a study's folder, or its study.json.

    Raises:
        RecordsError: when it is missing, damaged, of another kind or of another schema.
    """
    path = Path(name) if Path(name).name == RECORD_FILE else Path(name) / RECORD_FILE
    try:
        record = read_object(path)
        version = record.get("schema_version")
        if record.get("kind") != KIND or type(version) is not int:
            raise ShapeError("it is no study's")
        if version == SCHEMA_VERSION:
            _RECORD(record, "")
            _check_variants(record["variants"])
    except ShapeError as error:
        raise RecordsError(f"the study in {path} cannot be read: {error}; write it again with adsr study") from error
    if version > SCHEMA_VERSION:
        raise RecordsError(f"{path} has schema {version}, newer than {SCHEMA_VERSION}; upgrade adsr_hf")
    if version < SCHEMA_VERSION:
        raise RecordsError(
            f"{path} has the old schema {version}; write it again with adsr study STUDY.yaml --only_table true, which "
            "trains nothing"
        )
    return record


def _check_variants(variants: list[dict[str, Any]]) -> None:
    for place, variant in enumerate(variants):
        if variant["figures"] and variant["majority"] is None:
            raise ShapeError(f"variants[{place}].majority is missing")
        attacks = [attack["name"] for attack in variant["attacks"]]
        known = figure_names(variant["threats"], attacks) if attacks or not variant["threats"] else []
        for name in variant["figures"]:
            if name not in known:
                raise ShapeError(f"variants[{place}].figures names {name!r}, which is no figure of a study")
