"""Going back to the model that a decision was made against."""

from pathlib import Path

from adsr_hf.decision.decision_file import Decided
from adsr_hf.decision.serving import Switch, kept_models, put_in_service
from adsr_hf.decision.stored_model import StoredModel, StoredModelError


def roll_back(decision: Decided, target: Path) -> Switch | None:
    """Serve the rollback point of a decision from ``target`` again.

    It is taken from where it was measured, or, where that is gone or has changed, from what ``adsr promote`` kept
    beside ``target``. What ``target`` served until now is kept too
    (:func:`adsr_hf.decision.serving.put_in_service`).

    Returns:
        what changed; None where the model is there already.

    Raises:
        StoredModelError: when the model is found nowhere, whole.
        ServingError: when ``target`` cannot take it.
    """
    model = decision.rollback_point
    if model.is_in(target):
        return None
    facts = {"command": "rollback", "decision_file": str(decision.file.resolve())}
    return put_in_service(model, _source(model, target), target, facts)


def _source(model: StoredModel, target: Path) -> Path:
    kept = next((folder for folder in kept_models(target) if model.is_in(folder)), None)
    # What is on this machine comes before a download.
    if model.path is None and kept is not None:
        return kept
    try:
        return model.fetch()
    except StoredModelError as error:
        if kept is not None:
            return kept
        raise StoredModelError(f"{error}; nor is it in a folder that adsr promote kept beside {target}") from error
