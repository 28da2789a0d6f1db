"""What summary.json must hold, key by key, and which parts of it must fit each other."""

from typing import Any

from adsr_hf.attacks import ThreatModel
from adsr_hf.records.json_shapes import (
    ShapeError,
    anything,
    fields,
    list_of,
    mapping_of,
    number,
    one_of,
    optional,
    sha256,
    text,
    whole_number,
    yes_or_no,
)

_MODEL = fields(
    {
        "source": text,
        "weights": optional(one_of("student", "teacher")),
        "published": yes_or_no,
        "fingerprint": sha256,
        "num_classes": whole_number(1),
        "class_names": list_of(text),
        "parameters": whole_number(0),
    },
    {"revision": optional(text), "files": optional(mapping_of(sha256))},
)
_DATA = fields(
    {
        "source": text,
        "split": one_of("test", "validation"),
        "fingerprint": sha256,
        "images": whole_number(1),
        "class_names": list_of(text),
        "image_shape": list_of(whole_number(1), length=3),
    },
    {"drawn": optional(whole_number(1))},
)
_ATTACK = fields(
    {"name": text}, {"num_steps": whole_number(1), "restarts": whole_number(1), "queries": whole_number(1)}
)
_FIGURE = fields({"value": number(), "interval": list_of(number(), length=2), "images": whole_number(1)})
_VERDICT = fields(
    {
        "name": text,
        "outcome": one_of("pass", "fail", "not applicable"),
        "figures": mapping_of(optional(number())),
        "words": text,
    }
)
_EXAMPLE = fields(
    {name: whole_number(0) for name in ("index", "label", "clean_prediction", "adversarial_prediction")}
    | dict.fromkeys(("threat", "clean", "adversarial"), text)
)
_SUMMARY = fields(
    {
        "records_sha256": sha256,
        "model": _MODEL,
        "data": _DATA,
        "threats": list_of(text),
        "attacks": list_of(_ATTACK),
        "seed": whole_number(0),
        "versions": mapping_of(text),
        "machine": text,
        "seconds": number(0),
        "devices": whole_number(1),
        "figures": mapping_of(_FIGURE),
        # These three are made again from the rows, and compared whole.
        "reliability": anything,
        "confusion": anything,
        "majority": anything,
        "positive_class": optional(text),
        "temperature": optional(fields({"value": number(1e-6), "fitted_on": text, "images": whole_number(1)})),
        "sanity": list_of(_VERDICT),
        "notes": list_of(text),
    },
    {
        "examples": list_of(_EXAMPLE),
        "latency": fields({"milliseconds_per_image": number(0), "batch_size": whole_number(1)}),
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
