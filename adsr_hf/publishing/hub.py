"""Model cards as the Hub reads them, and what went wrong when it cannot be reached."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError

from adsr_hf.publishing.card_facts import CardFacts, DataDescription, Measurement
from adsr_hf.publishing.card_text import card_text

TASK = "image-classification"


class PublishingError(RuntimeError):
    """The Hub could not be reached or refused: what happened, what is safe on disk, and what to do."""


def model_card(facts: CardFacts) -> ModelCard:
    """The whole card: metadata and text."""
    return ModelCard(f"---\n{card_metadata(facts).to_yaml()}\n---\n\n{card_text(facts)}")


def card_metadata(facts: CardFacts) -> ModelCardData:
    """Metadata of the card, with a ``model-index`` of what was measured."""
    results = [result for measurement in facts.measurements for result in _results(facts, measurement)]
    data = facts.data
    return ModelCardData(
        base_model=facts.base_model,
        datasets=[data.hub_name] if data and data.hub_name else None,
        eval_results=results or None,
        language=list(facts.languages) or None,
        library_name="transformers",
        license=facts.license,
        metrics=["accuracy"] if results else None,
        model_name=facts.name if results else None,
        pipeline_tag=TASK,
        tags=["adversarial-robustness", TASK, "calibration", "adsr_hf", *facts.tags],
    )


def _results(facts: CardFacts, measured: Measurement) -> list[EvalResult]:
    data = facts.data or DataDescription("data set that was not described")
    kinds = {
        "accuracy": ("accuracy", "Accuracy"),
        "robust_accuracy": ("accuracy", f"Robust accuracy ({facts.attack})"),
        "ece": ("expected_calibration_error", "Expected calibration error (15 bins)"),
        "robust_ece": ("expected_calibration_error", f"Expected calibration error under attack ({facts.attack})"),
    }
    results = []
    for figure, (kind, title) in kinds.items():
        if figure not in measured.figures:
            continue
        arguments: dict[str, Any] = {"images": measured.images}
        if figure.endswith("accuracy"):
            interval = measured.interval(figure)
            arguments["wilson_95_interval"] = [round(end, 6) for end in interval]
        if figure.startswith("robust_") and facts.attack is not None:
            arguments |= {"threat": facts.attack.threat, "attack": "pgd"}
            arguments |= {"num_steps": facts.attack.steps, "restarts": facts.attack.restarts}
        results.append(
            EvalResult(
                task_type=TASK,
                task_name="Image classification",
                dataset_type=data.hub_name or re.sub(r"[^\w.-]+", "-", data.name).strip("-").lower(),
                dataset_name=data.name,
                dataset_config=data.config,
                dataset_split=measured.split,
                dataset_args={"images": measured.images},
                metric_type=kind,
                metric_name=title,
                metric_value=round(measured.figures[figure], 6),
                metric_args=arguments,
            )
        )
    return results


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the Hub client's errors into a PublishingError that begins with ``what`` and names a way out."""
    try:
        yield
    except (HTTPError, ConnectionError, LocalTokenNotFoundError) as error:
        raise PublishingError(f"{what}: {cause_of(error)}. {_remedy(error)}") from error


def cause_of(error: BaseException) -> str:
    """The first line of an error's text, which the Hub client follows up with general advice."""
    return str(error).strip().split("\n")[0].strip().rstrip(".") or type(error).__name__


def _remedy(error: BaseException) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
        return (
            "The Hub did not accept the token, or there is none: log in with `hf auth login`, or set HF_TOKEN to a "
            "token that may write to this repository"
        )
    if status is not None:
        return "Check the repository's name (hub_model_id) and your rights there, or try again later"
    return "Check the connection (and HF_ENDPOINT and HF_HUB_OFFLINE, if you set them)"
