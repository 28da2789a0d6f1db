"""What an evaluation's summary says before anything is measured: which model, which images, which attacks."""

from typing import Any

from torch import nn

from adsr_hf.attacks.interface import NamedAttack
from adsr_hf.evaluation.fingerprints import DataFacts, model_fingerprint
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.provenance import Provenance
from adsr_hf.evaluation.records import KIND, SCHEMA_VERSION
from adsr_hf.evaluation.severities import severity_table
from adsr_hf.records.machine import PACKAGES, describe_machine, package_versions, process_state
from adsr_hf.records.sentences import sentence

_PACKAGES = (*PACKAGES, "numpy", "pillow", "pyautoattack")


def describe_evaluation(
    model: nn.Module,
    facts: DataFacts,
    plan: Plan,
    attacks: list[NamedAttack],
    provenance: Provenance,
    class_names: list[str],
) -> dict[str, Any]:
    """The summary before anything is measured, as JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "model": {
            "source": provenance.model_source,
            "revision": provenance.revision,
            "files": None if provenance.model_files is None else dict(provenance.model_files),
            "weights": provenance.weights,
            "published": provenance.published,
            "fingerprint": model_fingerprint(model),
            "num_classes": len(class_names),
            "class_names": class_names,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        },
        "data": {
            "source": provenance.data_source,
            "split": provenance.split,
            "drawn": provenance.drawn,
            "fingerprint": facts.fingerprint,
            "images": len(facts.labels),
            "class_names": class_names,
            "image_shape": list(facts.image_shape),
        },
        "threats": [str(threat) for threat in plan.threats],
        "attacks": [{"name": attack.name, **attack.settings} for attack in attacks] if plan.threats else [],
        "seed": plan.seed,
        "noise_severities": severity_table(*facts.image_shape[1:]).name if plan.stability else None,
        "positive_class": provenance.positive_class,
        "versions": package_versions(_PACKAGES),
        "machine": describe_machine(),
        "devices": process_state().num_processes,
        "examples": [],
        "sanity": [],
        "notes": [
            sentence("note.fallen_images"),
            *(attack.settings["note"] for attack in attacks if "note" in attack.settings),
        ],
    }
