"""Putting a model into the folder that is served: in one step, with the model that it replaces kept whole."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from adsr_hf.decision.exchange import exchange
from adsr_hf.decision.stored_model import StoredModel
from adsr_hf.evaluation.model_files import CONFIG, PICKLED_PATTERNS, is_model_file
from adsr_hf.records.disk_errors import write_errors_name
from adsr_hf.records.files import sync_folder, sync_tree, write_json

SERVED_RECORD = "served.json"
# They describe a model, so they come and go with it.
_DESCRIPTIONS = ("README.md", "run.json")


class ServingError(RuntimeError):
    """A folder that no model can be put into: it holds something else, is in use, or cannot be switched."""


@dataclass(frozen=True)
class Switch:
    """A served folder that has another model now.

    Attributes:
        former: the folder that holds what was served until then, whole; None where nothing was.
    """

    former: Path | None


def put_in_service(model: StoredModel, source: Path, target: Path, facts: dict[str, Any]) -> Switch:
    """Let ``target`` serve a model, and keep the one that it served until then.

    A whole new folder is made beside ``target``: the model's files, their sha256 checked after the copy, what else
    ``target`` holds (linked, not copied), and a ``served.json`` that says where the model came from. Only then, and in
    one step, it takes the place of ``target``: the two folders change places, or, where ``target`` is a symbolic link,
    the link is replaced. Whenever the process is killed, ``target`` is the old or the new folder, whole, and the other
    one is beside it: ``NAME.former-TIME`` holds what was replaced (or, killed just before the switch, the new one),
    ``NAME.version-TIME``, beside the folder that a link points to, is what it points to next. Neither is ever removed
    here.

    Args:
        model: whose files are copied.
        source: the folder that holds it.
        target: the folder that is served, a link to one, or a place where nothing is.
        facts: JSON values for ``served.json``.

    Raises:
        ServingError: when ``target`` holds something that is no model, another process is at work on it, or its file
            system cannot switch folders in one step. What is served is as it was.
        OSError: naming ``target``, when nothing can be written beside it; what is served is as it was.
    """
    # The last name may be a link, which is switched; links on the way there are followed.
    target = Path(os.path.abspath(target.parent.resolve() / target.name))
    _check_target(target, source)
    staged = _beside(target, f".{target.name}.copying")
    with write_errors_name(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            try:
                return _serve(model, source, target, staged, facts)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise


def _serve(model: StoredModel, source: Path, target: Path, staged: Path, facts: dict[str, Any]) -> Switch:
    former = target.resolve() if target.is_dir() and any(target.iterdir()) else None
    # Of a process that was killed.
    shutil.rmtree(staged, ignore_errors=True)
    _fill(staged, model, source, former)
    kept = _free_name(target, "version" if target.is_symlink() else "former")
    moved = None if former is None else former if target.is_symlink() else kept
    write_json(staged / SERVED_RECORD, _record(model, facts, moved))
    sync_tree(staged)
    _switch(staged, target, kept, former)
    sync_folder(target.parent)
    return Switch(moved)


def kept_models(target: Path) -> list[Path]:
    """Folders in which earlier calls kept what ``target`` served before, newest first."""
    target = Path(os.path.abspath(target.parent.resolve() / target.name))
    beside = [
        path
        for kind in ("former", "version")
        for path in _beside(target, "any").parent.glob(f"{_escaped(target.name)}.{kind}-*")
        if path.is_dir()
    ]
    beside.sort(key=lambda path: path.name.rpartition("-")[2], reverse=True)
    try:
        replaced = json.loads((target / SERVED_RECORD).read_text(encoding="utf-8"))["replaced"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return beside
    return [Path(replaced), *beside] if isinstance(replaced, str) and "\0" not in replaced else beside


def _check_target(target: Path, source: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ServingError(f"{target} is a file; name the folder that the model is served from")
    if target.is_symlink() and not target.exists():
        raise ServingError(
            f"{target} is a link to {os.readlink(target)}, which is gone; point it to a folder, or remove it"
        )
    if target.is_dir() and any(target.iterdir()) and not (target / CONFIG).is_file():
        raise ServingError(f"{target} is not a model's folder (it has no {CONFIG}); name the folder you serve")
    source, inner = source.resolve(), target.resolve()
    if source != inner and (source.is_relative_to(inner) or inner.is_relative_to(source)):
        raise ServingError(f"{source} and {target} lie inside each other; serve the model from a folder of its own")


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise ServingError(
            f"another process puts a model into {target} just now; wait for it, then look again"
        ) from error


def _fill(staged: Path, model: StoredModel, source: Path, former: Path | None) -> None:
    staged.mkdir()
    if former is not None:
        shutil.copymode(former, staged)
        for entry in sorted(former.iterdir()):
            if not _belongs_to_a_model(entry):
                _link(entry, staged / entry.name)
    missing = [name for name in model.sha256 if not (source / name).is_file()]
    if missing:
        raise ServingError(f"{source / missing[0]} is gone, which the model needs; nothing was replaced")
    for name in model.sha256:
        shutil.copyfile(source / name, staged / name)
    for name in _DESCRIPTIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, staged / name)
    if not model.is_in(staged):
        raise ServingError(f"the model in {source} changed while it was copied; nothing was replaced")


def _belongs_to_a_model(entry: Path) -> bool:
    described = entry.name in (*_DESCRIPTIONS, SERVED_RECORD)
    return described or is_model_file(entry.name) or any(entry.match(pattern) for pattern in PICKLED_PATTERNS)


def _link(entry: Path, place: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.copytree(entry, place, symlinks=True, copy_function=_link_file)
    else:
        _link_file(str(entry), str(place))


def _link_file(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:
        # Some file systems have no hard links; a copy says the same.
        shutil.copy2(source, place, follow_symlinks=False)


def _record(model: StoredModel, facts: dict[str, Any], replaced: Path | None) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "served model",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model.as_dict(),
        "replaced": None if replaced is None else str(replaced),
        **facts,
    }


def _switch(staged: Path, target: Path, kept: Path, former: Path | None) -> None:
    if former is None and not target.is_symlink():
        os.rename(staged, target)
        return
    os.rename(staged, kept)
    try:
        if target.is_symlink():
            link = target.with_name(f".{target.name}.link")
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(kept, target.parent))
            os.replace(link, target)
        else:
            exchange(kept, target)
    except OSError as error:
        shutil.rmtree(kept)
        raise ServingError(
            f"{target} cannot be switched in one step here ({error.strerror}), and nothing was replaced; serve from a "
            f"link, which can be: mv {target} {target}.v1 && ln -s {target.name}.v1 {target}"
        ) from error


def _free_name(target: Path, kind: str) -> Path:
    return _beside(target, f"{target.name}.{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z")


def _beside(target: Path, name: str) -> Path:
    """A path beside the folder that is served, where links inside it lead where they did."""
    return (target.resolve() if target.is_symlink() else target).parent / name


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
