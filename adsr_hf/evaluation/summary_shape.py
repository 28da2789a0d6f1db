"""What summary.json must hold, key by key, and which parts of it must fit each other."""

from typing import Any

from adsr_hf.attacks import ThreatModel
from adsr_hf.records import json_shapes as shape
from adsr_hf.records.json_shapes import ShapeError
from adsr_hf.records.sentences import check_recorded

_MODEL = shape.fields(
    {
        "source": shape.text,
        "weights": shape.optional(shape.one_of("student", "teacher")),
        "published": shape.yes_or_no,
        "fingerprint": shape.sha256,
        "num_classes": shape.whole_number(1),
        "class_names": shape.list_of(shape.text),
        "parameters": shape.whole_number(0),
    },
    {"revision": shape.optional(shape.text), "files": shape.optional(shape.mapping_of(shape.sha256))},
)
_DATA = shape.fields(
    {
        "source": shape.text,
        "split": shape.one_of("test", "validation"),
        "fingerprint": shape.sha256,
        "images": shape.whole_number(1),
        "class_names": shape.list_of(shape.text),
        "image_shape": shape.list_of(shape.whole_number(1), length=3),
    },
    {"drawn": shape.optional(shape.whole_number(1))},
)
_ATTACK = shape.fields(
    {"name": shape.text},
    {"num_steps": shape.whole_number(1), "restarts": shape.whole_number(1), "queries": shape.whole_number(1)},
)
_FIGURE = shape.fields(
    {"value": shape.number(), "interval": shape.list_of(shape.number(), length=2), "images": shape.whole_number(1)}
)
_VERDICT = shape.fields(
    {
        "name": shape.text,
        "outcome": shape.one_of("pass", "fail", "not applicable"),
        "figures": shape.mapping_of(shape.optional(shape.number())),
        "words": check_recorded,
    }
)
_EXAMPLE = shape.fields(
    {name: shape.whole_number(0) for name in ("index", "label", "clean_prediction", "adversarial_prediction")}
    | dict.fromkeys(("threat", "clean", "adversarial"), shape.text)
)
_SUMMARY = shape.fields(
    {
        "records_sha256": shape.sha256,
        "model": _MODEL,
        "data": _DATA,
        "threats": shape.list_of(shape.text),
        "attacks": shape.list_of(_ATTACK),
        "seed": shape.whole_number(0),
        "versions": shape.mapping_of(shape.text),
        "machine": shape.text,
        "seconds": shape.number(0),
        "devices": shape.whole_number(1),
        "figures": shape.mapping_of(_FIGURE),
        # These three are made again from the rows, and compared whole.
        "reliability": shape.anything,
        "confusion": shape.anything,
        "majority": shape.anything,
        "positive_class": shape.optional(shape.text),
        "temperature": shape.optional(
            shape.fields({"value": shape.number(1e-6), "fitted_on": shape.text, "images": shape.whole_number(1)})
        ),
        "sanity": shape.list_of(_VERDICT),
        "notes": shape.list_of(check_recorded),
    },
    {
        "examples": shape.list_of(_EXAMPLE),
        "latency": shape.fields({"milliseconds_per_image": shape.number(0), "batch_size": shape.whole_number(1)}),
    },
)


def check_summary(summary: dict[str, Any]) -> None:
    """Raise ShapeError where a key is missing, or a value is not what it must be or does not fit another."""
    _SUMMARY(summary, "")
    names, classes = summary["model"]["class_names"], summary["model"]["num_classes"]
    if len(names) != classes or len(set(names)) < classes or summary["data"]["class_names"] != names:
        raise ShapeError(f"model.class_names and data.class_names must be the same {classes} names, each once")
    positive = summary["positive_class"]
    if positive is not None and (positive not in names or classes != 2):
        raise ShapeError(f"positive_class is {positive!r}, but must be one of two classes")
    attacks = [attack["name"] for attack in summary["attacks"]]
    for key, once in (("threats", summary["threats"]), ("attacks", attacks)):
        if len(set(once)) < len(once):
            raise ShapeError(f"{key} names one more than once: {once}")
    for threat in summary["threats"]:
        try:
            ThreatModel.parse(threat)
        except ValueError as error:
            raise ShapeError(f"threats holds {threat!r}, which is no threat model: {error}") from error
    for name, entry in summary["figures"].items():
        low, high = entry["interval"]
        if low > high:
            raise ShapeError(f"figures.{name}.interval is {entry['interval']}, which runs backwards")
    for place, example in enumerate(summary.get("examples", [])):
        _check_example(f"examples[{place}]", example, summary)


def _check_example(where: str, example: dict[str, Any], summary: dict[str, Any]) -> None:
    if example["index"] >= summary["data"]["images"] or example["threat"] not in summary["threats"]:
        raise ShapeError(f"{where} is of an image or a threat that was not measured")
    for name in ("label", "clean_prediction", "adversarial_prediction"):
        if example[name] >= summary["model"]["num_classes"]:
            raise ShapeError(f"{where}.{name} is {example[name]}, which is no class of the model")
