"""One cell of a study: a run with its evaluation, in a folder of its own that says what it is and how far it got."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adsr_hf.records import json_shapes as shape
from adsr_hf.records.files import file_sha256, write_json
from adsr_hf.records.json_shapes import ShapeError, read_object

CELL_FILE = "cell.json"
LOG_FILE = "log.txt"
KIND = "study cell"
SCHEMA_VERSION = 1

# Memory, not figures: free to change when a study is continued.
_FREE = ("evaluation.batch_size",)
_FOLDERS = {"published": "evaluation", "teacher": "evaluation-teacher"}
_STATE = shape.fields(
    {
        "identity": shape.fields(
            {
                "variant": shape.text,
                "arm": shape.text,
                "seed": shape.whole_number(0),
                "settings": shape.mapping_of(shape.anything),
                "evaluation": shape.mapping_of(shape.anything),
                "weights": shape.list_of(shape.one_of(*_FOLDERS)),
            }
        ),
        "trained": shape.yes_or_no,
        "attempts": shape.whole_number(1),
        "outcome": shape.optional(
            shape.fields(
                {
                    "error": shape.optional(shape.text),
                    "seconds": shape.number(0),
                    "continued": shape.yes_or_no,
                    "summaries": shape.mapping_of(shape.sha256, shape.one_of(*_FOLDERS.values())),
                }
            )
        ),
    },
    {"plan": shape.optional(shape.text)},
)


@dataclass(frozen=True)
class Cell:
    """One variant of one arm with one seed.

    Attributes:
        variant: name of the variant, "" in a study without any.
        arm: name of the arm.
        folder: of its run.
        settings: the recipe's fields as they are written in YAML, seed included, without ``output_dir``.
        evaluation: the same for ``adsr evaluate``, its threats spelled out.
        weights: what is measured: ``"published"``, ``"teacher"`` or both.
        plan: the study's; of a cell that was read from its folder, the one it was begun under, None where no plan was
            kept yet.
    """

    variant: str
    arm: str
    seed: int
    folder: Path
    settings: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    weights: tuple[str, ...]
    plan: str | None

    @property
    def name(self) -> str:
        """What people call it."""
        return ", ".join([*([self.variant] if self.variant else []), self.arm, f"seed {self.seed}"])

    @property
    def identity(self) -> dict[str, Any]:
        """What the cell is, as JSON values; :func:`why_refused` says which of them must stay the same."""
        return {
            "variant": self.variant,
            "arm": self.arm,
            "seed": self.seed,
            "settings": dict(self.settings),
            "evaluation": dict(self.evaluation),
            "weights": list(self.weights),
        }

    def row_name(self, weights: str) -> str:
        """What a table calls these weights of the arm."""
        return f"{self.arm} ({weights})" if len(self.weights) > 1 and weights == "teacher" else self.arm

    def network(self, weights: str) -> str:
        """Whose these weights are: ``"student"`` or ``"teacher"``."""
        return "teacher" if weights == "teacher" else str(self.settings.get("publish") or "student")

    def evaluation_folder(self, weights: str) -> Path:
        """Where ``adsr evaluate`` puts the records of these weights."""
        return self.folder / _FOLDERS[weights]

    @classmethod
    def read(cls, folder: Path) -> "Cell":
        """The cell that a folder holds, begun with :func:`begin`."""
        state = read_state(folder)
        identity = state["identity"] | {"weights": tuple(state["identity"]["weights"])}
        return cls(folder=folder, plan=state.get("plan"), **identity)


@dataclass(frozen=True)
class CellEnd:
    """How the last attempt at a cell ended.

    Attributes:
        error: None where it finished.
        seconds: wall time of the attempt.
        continued: whether an earlier attempt had done a part, so that ``seconds`` says nothing about a whole cell.
        summaries: sha256 of each summary.json, by its folder's name.
    """

    error: str | None
    seconds: float
    continued: bool
    summaries: Mapping[str, str]


def begin(cell: Cell) -> None:
    """Write down what the cell is, and that an attempt at it starts; what an earlier one trained still counts."""
    old = read_state(cell.folder)
    state = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "identity": cell.identity,
        "trained": bool(old and old["trained"]),
        "attempts": (old["attempts"] if old else 0) + 1,
        # Of the first attempt, before which nothing can have been seen.
        "plan": old.get("plan") if old else cell.plan,
        "outcome": None,
    }
    write_json(cell.folder / CELL_FILE, state)


def mark_trained(folder: Path) -> None:
    """Write down that training is over and its checkpoint complete."""
    write_json(folder / CELL_FILE, read_state(folder) | {"trained": True})


def finish(cell: Cell, *, error: str | None, seconds: float) -> None:
    """Write down how the attempt ended."""
    state = read_state(cell.folder)
    folders = [cell.evaluation_folder(weights) for weights in cell.weights]
    summaries = {} if error is not None else {folder.name: file_sha256(folder / "summary.json") for folder in folders}
    outcome = {"error": error, "seconds": seconds, "continued": state["attempts"] > 1, "summaries": summaries}
    write_json(cell.folder / CELL_FILE, state | {"outcome": outcome})


def end_of(cell: Cell) -> CellEnd | None:
    """How the last attempt ended; None where it never did, or its records are not the ones that it wrote."""
    state = read_state(cell.folder)
    if not state or state["outcome"] is None:
        return None
    outcome = CellEnd(**state["outcome"])
    for name, written in outcome.summaries.items():
        path = cell.folder / name / "summary.json"
        if not path.is_file() or file_sha256(path) != written:
            return None
    return outcome


def is_finished(cell: Cell) -> bool:
    """Whether there is nothing left to do."""
    outcome = end_of(cell)
    return outcome is not None and outcome.error is None


def why_refused(cell: Cell) -> str | None:
    """Why the cell cannot be run or counted: its folder holds something else; None where all is well.

    A finished cell must have been trained and measured as this one is. One that is not finished, such as one whose
    evaluation failed, may be measured otherwise from now on; what it trained still counts.
    """
    if not cell.folder.exists():
        return None
    state = read_state(cell.folder)
    if not state:
        foreign = sorted(path.name for path in cell.folder.iterdir())
        return f"{cell.folder} holds what no study made ({', '.join(foreign[:3])})" if foreign else None
    old, new = _flat(state["identity"]), _flat(cell.identity)
    if not is_finished(cell):
        # Nothing was found yet that other settings of the evaluation could be confused with.
        old, new = (
            {name: value for name, value in settings.items() if not _is_of_evaluation(name)} for settings in (old, new)
        )
    differing = [
        f"{name} was {old.get(name, 'not set')!r} and is now {new.get(name, 'not set')!r}"
        for name in sorted(old.keys() | new.keys())
        if name not in _FREE and old.get(name, "not set") != new.get(name, "not set")
    ]
    return f"{cell.folder} was run with other settings: {'; '.join(differing)}" if differing else None


def read_state(folder: Path) -> dict[str, Any]:
    """What cell.json holds; empty where there is none.

    Raises:
        ValueError: when it cannot be read, is damaged, or another version wrote it.
    """
    path = folder / CELL_FILE
    if not path.is_file():
        return {}
    try:
        # A setting of a recipe may be infinite.
        state = read_object(path, nan=True)
        if state.get("kind") != KIND:
            raise ShapeError(f"its kind is not {KIND!r}")
        version = state.get("schema_version")
        if type(version) is int and version > SCHEMA_VERSION:
            raise ValueError(f"{path} has schema {version}, newer than {SCHEMA_VERSION}; upgrade adsr_hf")
        _STATE(state, "")
    except ShapeError as error:
        raise ValueError(f"{path} is damaged: {error}; remove {folder} to run that cell again") from error
    return state


def _is_of_evaluation(name: str) -> bool:
    return name == "weights" or name.startswith("evaluation.")


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    settings, evaluation = identity["settings"], identity["evaluation"]
    rest = {name: value for name, value in identity.items() if name not in ("settings", "evaluation")}
    return rest | dict(settings) | {f"evaluation.{name}": value for name, value in evaluation.items()}
