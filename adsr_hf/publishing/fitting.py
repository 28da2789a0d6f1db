"""From a network's logits on held-out images to one temperature. Pure functions."""

import warnings

import torch

from adsr_hf.measures.figures import MeasuredLogits
from adsr_hf.measures.temperature import TEMPERATURE_BOUNDS, fit_temperature
from adsr_hf.records.sentences import Sentence, sentence, worded


class CalibrationError(RuntimeError):
    """The images do not say how sure the model may be, for this ``reason``; its weights are as they were."""

    def __init__(self, reason: Sentence) -> None:
        super().__init__(worded(reason))
        self.reason = reason


def fitted_temperature(measured: MeasuredLogits, adversarial_share: float) -> float:
    """The temperature with the least (1 − share) · clean + share · adversarial negative log-likelihood.

    Args:
        measured: of held-out images; attacked too where the share is above 0.
        adversarial_share: in [0, 1].

    Raises:
        CalibrationError: when the likelihood has no minimum inside the bounds.
    """
    images = len(measured.labels)
    logits, weights = [measured.clean], [torch.full((images,), 1 - adversarial_share)]
    if adversarial_share > 0:
        assert measured.attacked is not None
        logits.append(measured.attacked)
        weights.append(torch.full((images,), adversarial_share))
    with warnings.catch_warnings():
        # Said below, with the way out that there is here.
        warnings.simplefilter("ignore", UserWarning)
        temperature = fit_temperature(
            torch.cat(logits), measured.labels.repeat(len(logits)), weights=torch.cat(weights)
        )
    if temperature in TEMPERATURE_BOUNDS:
        coldest, hottest = TEMPERATURE_BOUNDS
        code = "not_calibrated.none_wrong" if temperature == coldest else "not_calibrated.by_chance"
        raise CalibrationError(sentence(code, coldest=coldest, hottest=hottest, images=images))
    return temperature
