"""Robust accuracy: the share of images that a classifier still gets right under attack.

Where the predictions on the clean images are given too, an image counts only if it is right on both: an attack that
happens to push a wrong prediction onto the right class then makes nobody look robust.
"""

from typing import Any

from adsr_hf.metrics import frame

_INPUTS = """
Inputs:
    predictions (list of int): predicted classes on the adversarial images.
    references (list of int): true classes.
    clean_predictions (list of int, optional): predicted classes on the clean images, in the same order. Pass all of
        them to compute, or load the configuration "clean_and_adversarial" and pass them with each batch.
Returns:
    robust_accuracy (float): in [0, 1]; higher is better.
"""

_CITATION = """
@inproceedings{madry2018towards,
  title={Towards Deep Learning Models Resistant to Adversarial Attacks},
  author={Madry, Aleksander and Makelov, Aleksandar and Schmidt, Ludwig and Tsipras, Dimitris and Vladu, Adrian},
  booktitle={International Conference on Learning Representations},
  year={2018}
}
"""

# evaluate knows no optional inputs, so that the set of inputs is the configuration.
_INPUT_NAMES = {
    "default": ("predictions", "references"),
    "clean_and_adversarial": ("predictions", "references", "clean_predictions"),
}


class RobustAccuracy(frame.FramedMetric):
    """Share of images that are right under attack, and on the clean image where that is given; see the card."""

    inputs, citation = _INPUTS, _CITATION
    reference = "https://arxiv.org/abs/1706.06083"
    columns = dict.fromkeys(_INPUT_NAMES["default"], frame.CLASS)

    def columns_taken(self) -> dict[str, Any]:
        """See FramedMetric; the clean predictions too, where the configuration says so."""
        if self.config_name not in _INPUT_NAMES:
            raise ValueError(f"config_name={self.config_name!r} is unknown; choose one of {', '.join(_INPUT_NAMES)}")
        return dict.fromkeys(_INPUT_NAMES[self.config_name], frame.CLASS)

    def _compute(
        self, *, predictions: list[int], references: list[int], clean_predictions: list[int] | None = None
    ) -> dict[str, Any]:
        frame.refuse_none(references, "predictions and references")
        clean = references if clean_predictions is None else clean_predictions
        if len(clean) != len(references):
            raise ValueError(
                f"clean_predictions has {len(clean)} entries for {len(references)} references; pass one for each "
                "image that was added, or load the configuration 'clean_and_adversarial' to add them in batches"
            )
        right = sum(
            adversarial == label == unperturbed
            for adversarial, label, unperturbed in zip(predictions, references, clean, strict=True)
        )
        return {"robust_accuracy": int(right) / len(references)}
