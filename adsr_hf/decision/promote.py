"""Putting a decided candidate into service."""

from pathlib import Path

from adsr_hf.decision.decision_file import Decided
from adsr_hf.decision.serving import Switch, put_in_service


class PromotionError(ValueError):
    """A candidate that may not be promoted, or not there."""


def promote(decision: Decided, target: Path, *, override: str | None = None) -> Switch | None:
    """Serve the candidate of a decision from ``target``, which must serve the model that it was judged against.

    Args:
        decision: of the gate.
        target: the folder that is served, or a link to it.
        override: why the candidate is promoted although the decision is not to; written into ``served.json``.

    Returns:
        what changed, with the folder in which the former model is kept whole
        (:func:`adsr_hf.decision.serving.put_in_service`); None where the candidate is served already.

    Raises:
        PromotionError: when the decision is not to promote and ``override`` gives no reason, or ``target`` does not
            serve the model that was the current one.
        StoredModelError: when the candidate is gone or has changed since it was measured.
        ServingError: when ``target`` cannot take it.
    """
    if override is not None and not override.strip():
        raise PromotionError("override must say why; it is written down")
    if decision.decision != "promote" and override is None:
        raise PromotionError(
            f"{decision.file} decides {decision.decision!r}, so the candidate is not promoted; to promote it all the "
            "same, give the reason: --override 'REASON'"
        )
    model, current = decision.candidate_model, decision.rollback_point
    if model.is_in(target):
        return None
    if not current.is_in(target):
        raise PromotionError(
            f"{target} does not serve the model that the candidate was judged against, {current.name}, so that the "
            f"decision says nothing about replacing it; run the gate against the model in {target}, or bring the "
            f"other one back first: adsr rollback {decision.file} --to {target}"
        )
    facts = {
        "command": "promote",
        "decision_file": str(decision.file.resolve()),
        "decision": decision.decision,
        "override": override,
    }
    return put_in_service(model, model.fetch(), target, facts)
