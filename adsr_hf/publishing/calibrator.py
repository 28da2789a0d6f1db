"""Calibration of what is published: one temperature, fitted on held-out images, folded into the head."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from adsr_hf.config import ADSRConfig
from adsr_hf.measures.figures import MeasuredLogits
from adsr_hf.networks.adapted import base_network
from adsr_hf.publishing.card_facts import CalibrationFacts
from adsr_hf.publishing.fitting import fitted_temperature
from adsr_hf.publishing.head import fold_temperature, foldable_head, own_parameters
from adsr_hf.training.batch import Batch

# Where a model's config says that its head was scaled.
CONFIG_ENTRY = "adsr_calibration"


class HeadCalibrator:
    """Fits a temperature on held-out images, as ``args.calibrate`` says, and folds it into a network's head."""

    def __init__(self, args: ADSRConfig) -> None:
        self._args = args

    @property
    def is_wanted(self) -> bool:
        """Whether the settings ask for it."""
        return self._args.calibrate != "none"

    def splits(self, images: Any, test_dataset: Any, *, train_dataset: Any) -> dict[str, Any]:
        """What is measured, ``"validation"`` to fit on and ``"test"`` where it is given, checked.

        Raises:
            ValueError: when ``args.calibrate`` is 'none', or these are not one set of images that training has not
                seen.
        """
        setting = f"calibrate={self._args.calibrate!r}"
        if not self.is_wanted:
            raise ValueError(
                f"{setting} fits no temperature; build the trainer with ADSRConfig(calibrate='clean'), "
                "'adversarial' or 'mixed'"
            )
        if images is None or isinstance(images, dict):
            found = "there are none" if images is None else f"eval_dataset holds several sets: {', '.join(images)}"
            raise ValueError(
                f"{setting} needs one set of held-out images, and {found}; pass eval_dataset, "
                "or give adsr train a validation_split or a validation_fraction above 0"
            )
        if images is train_dataset:
            raise ValueError(
                f"{setting} needs held-out images, and the ones given are the train_dataset, "
                "on which confidence is too high; hold some images out"
            )
        return {"validation": images} | ({} if test_dataset is None else {"test": test_dataset})

    def refuse_unfoldable(self, model: nn.Module, probe: Batch) -> None:
        """Refuse before training what could not be calibrated after it; see :func:`foldable_head`."""
        foldable_head(model, probe.pixel_values, **probe.others)

    def calibrate(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        splits: Mapping[str, Any],
        *,
        again: bool,
        probe: Batch,
        measure: Callable[[Any], MeasuredLogits],
    ) -> tuple[dict[str, Any], dict[str, MeasuredLogits]]:
        """Fold one temperature into the head of the published network; the other network is left alone.

        Args:
            student, teacher: bare networks; ``args.publish`` says whose head it is.
            splits: images by name; fitted on ``"validation"``, and measured on all before and after.
            again: whether the head was scaled before, since its run.
            probe: some images, on which scaling the head must divide the logits.
            measure: what the published network says about images, clean and under the evaluation attack.

        Returns:
            the record that the networks' configs keep, and what the network says about each split afterwards. The
            record: ``temperature`` (by which the trained logits are divided in all), ``fitted_on``, ``images``,
            ``share`` (weight of the adversarial loss), ``weights``, and ``before`` and ``after``: for each split
            ``ece`` and, where the evaluation attacks, ``robust_ece``.

        Raises:
            UnfoldableHeadError: when scaling the head does not divide the logits.
            CalibrationError: when no temperature fits. In each case the weights are as they were.
        """
        published = teacher if self._args.publish == "teacher" and teacher is not None else student
        # Refused before anything is measured.
        head = foldable_head(published, probe.pixel_values, **probe.others)
        before = {split: measure(images) for split, images in splits.items()}
        temperature = fitted_temperature(before["validation"], self._args.calibration_share)
        if teacher is not None:
            # A frozen head is one and the same in student and teacher.
            own_parameters(teacher.get_submodule(head))
        fold_temperature(published, temperature, probe.pixel_values, **probe.others)
        after = {split: measure(images) for split, images in splits.items()}
        earlier = getattr(base_network(student).config, CONFIG_ENTRY, None) or {}
        record = {
            "temperature": temperature * earlier.get("temperature", 1.0),
            "fitted_on": self._args.calibrate,
            "images": len(before["validation"].labels),
            "share": self._args.calibration_share,
            "weights": "student" if published is student else "teacher",
            "before": {split: measured.calibration_errors() for split, measured in before.items()},
            "after": {split: measured.calibration_errors() for split, measured in after.items()},
        }
        if again:
            record["before"] = record["before"] | earlier["before"]
        for network in (student, published):
            setattr(base_network(network).config, CONFIG_ENTRY, record)
        return record, after


def forget_calibration(model: nn.Module) -> None:
    """Take the record out of a model's config: its head is about to be trained again."""
    config = base_network(model).config
    if hasattr(config, CONFIG_ENTRY):
        delattr(config, CONFIG_ENTRY)


def calibration_facts(model: nn.Module) -> CalibrationFacts | None:
    """What a model's config says about its calibration, for the card; None where its head was never scaled."""
    record = getattr(base_network(model).config, CONFIG_ENTRY, None)
    return None if record is None else CalibrationFacts.from_record(record)
