"""Studies that a page shows, read from their study.json."""

import json
from pathlib import Path
from typing import Any

from adsr_hf.errors import RecordsError
from adsr_hf.study.results import KIND, RECORD_FILE, SCHEMA_VERSION


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
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind, version = record["kind"], record["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordsError(f"the study in {path} cannot be read: {error}; write it again with adsr study") from error
    if kind != KIND or version > SCHEMA_VERSION:
        raise RecordsError(
            f"{path} is no study, or has schema {version}, newer than {SCHEMA_VERSION}; upgrade adsr_hf"
        )
    if version < SCHEMA_VERSION:
        raise RecordsError(
            f"{path} has the old schema {version}, whose figures have other names; write it again with adsr study"
        )
    return record
