"""run.json: what a run was, read as a stranger's file by all that come after it."""

from pathlib import Path
from typing import Any

from adsr_hf.records import json_shapes as shape
from adsr_hf.records.json_shapes import ShapeError, read_object
from adsr_hf.records.sentences import check_recorded
from adsr_hf.settings.errors import RecordsError
from adsr_hf.settings.radius import Radius, check_radius

RUN_RECORD = "run.json"

# What is drawn or averaged; other entries of a log may be those of the user's own callbacks.
_DRAWN = frozenset({"step", "epoch", "loss", "images_per_second", "temperature", "interpolation", "mean_lambda"}) | {
    *("epsilon", "eval_accuracy", "eval_robust_accuracy", "eval_teacher_robust_accuracy")
}

_WEIGHTS = shape.one_of("student", "teacher")
_CONFIG = shape.fields(
    {"method": shape.text, "norm": shape.text, "epsilon": shape.either(shape.text, shape.number(0))},
    {
        "publish": _WEIGHTS,
        "seed": shape.whole_number(0),
        "num_train_epochs": shape.number(),
        "attack_steps": shape.whole_number(0),
        "teacher_decay": shape.optional(shape.number(0, 1)),
    },
)
_DROP = shape.fields({name: shape.number() for name in ("best", "best_step", "last", "last_step", "gap")})
_SPLITS = shape.mapping_of(
    shape.mapping_of(shape.number(), shape.one_of("ece", "robust_ece")), shape.one_of("validation", "test")
)
_CALIBRATION = shape.either(
    shape.fields({"refused": check_recorded}),
    shape.fields(
        {"temperature": shape.number(0), "images": shape.whole_number(1), "share": shape.number(0, 1)}
        | {"fitted_on": shape.one_of("clean", "adversarial", "mixed"), "weights": _WEIGHTS}
        | {"before": _SPLITS, "after": _SPLITS}
    ),
)
_WARNING = shape.fields(
    {"kind": shape.one_of("one class", "behind probe", "not robust"), "step": shape.whole_number(0)}
    | {"accuracy": shape.number(0, 1), "reference": shape.number(0, 1), "images": shape.whole_number(1)}
)
# NaN is what a run that diverged has logged.
_RECORD = shape.fields(
    {
        "config": _CONFIG,
        "data": shape.fields({"dataset": shape.text}),
        "model": shape.mapping_of(shape.anything),
        "data_summary": shape.either(shape.text, shape.list_of(check_recorded)),
        "images": shape.mapping_of(shape.whole_number(0)),
        "training": shape.fields({}, {"train_runtime": shape.number(0)}),
        "log_history": shape.list_of(shape.mapping_of(shape.anything)),
        "versions": shape.mapping_of(shape.text),
    },
    {
        "published": shape.fields({"weights": _WEIGHTS}),
        "robust_overfitting": shape.optional(shape.mapping_of(_DROP, _WEIGHTS)),
        "calibration": shape.optional(_CALIBRATION),
        "warnings": shape.list_of(_WARNING),
    },
)


def find_run_record(*folders: Path) -> Path | None:
    """The run.json of the first of these folders that holds one."""
    return next((folder / RUN_RECORD for folder in folders if (folder / RUN_RECORD).is_file()), None)


def read_run_record(path: Path) -> dict[str, Any]:
    """What a run.json holds.

    Raises:
        RecordsError: naming the file and what is wrong: it is cut short, a key is missing, or a value is not what it
            must be.
    """
    try:
        record = read_object(path, nan=True)
        _RECORD(record, "")
        _check_threat(record["config"])
        _check_history(record["log_history"])
    except ShapeError as error:
        raise RecordsError(
            f"{path} is not the record of a run: {error}; remove it, or train again in another folder"
        ) from error
    return record


def published_weights(record: dict[str, Any]) -> str:
    """Which network's weights a run saved as its model: ``"student"`` or ``"teacher"``."""
    return str(record.get("published", {}).get("weights") or record["config"].get("publish", "student"))


def _check_threat(config: dict[str, Any]) -> None:
    try:
        check_radius(config["norm"], Radius(config["epsilon"]))
    except ValueError as error:
        raise ShapeError(f"config.norm and config.epsilon are no threat model: {error}") from error


def _check_history(history: list[dict[str, Any]]) -> None:
    for place, entry in enumerate(history):
        for name in _DRAWN & entry.keys():
            value = entry[name]
            if type(value) not in (int, float) or (type(value) is int and abs(value) >= 2**63):
                raise ShapeError(f"log_history[{place}].{name} is {str(value)[:80]!r}, but must be a number")
        if "step" not in entry:
            raise ShapeError(f"log_history[{place}].step is missing")
