"""A Trainer that calibrates what it publishes: one temperature, fitted on held-out images, folded into the head."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from adsr_hf.measures.figures import MeasuredLogits
from adsr_hf.networks.adapted import base_network
from adsr_hf.publishing.card_facts import CalibrationFacts, CardFacts, Measurement, measurements
from adsr_hf.publishing.fitting import fitted_temperature
from adsr_hf.publishing.head import fold_temperature, foldable_head, own_parameters
from adsr_hf.trainer_publishing import PublishingTrainer

# Where a model's config says that its head was scaled.
CONFIG_ENTRY = "adsr_calibration"

_PROBE_IMAGES = 8


class CalibratingTrainer(PublishingTrainer):
    """Trainer with :meth:`calibrate`; checkpoints of a run hold the head as it was trained."""

    _calibrated_at: int | None = None
    _calibrated_measurement: Measurement | None = None

    def calibrate(self, dataset: Any = None, *, test_dataset: Any = None) -> dict[str, Any]:
        """Fit one temperature on held-out images, as ``args.calibrate`` says, and fold it into the published weights.

        These are the student's or, with ``publish='teacher'``, the teacher's; the other network is left alone. Every
        prediction stays as it was, clean or attacked, while an attack on the cross-entropy follows other gradients
        afterwards and may find other images; figures after it are measured with a new attack. A second call starts
        from the head as it then is. Training again starts from it too, and forgets the record.

        Args:
            dataset: held-out images; None = ``eval_dataset``. Never those that figures are reported for.
            test_dataset: images to measure before and after, on which nothing is fitted.

        Returns:
            ``temperature`` (by which the trained logits are divided in all), ``fitted_on``, ``images``, ``share``
            (weight of the adversarial loss), ``weights``, and ``before`` and ``after``: for ``validation`` and, if
            given, ``test``, ``ece`` and, where the evaluation attacks, ``robust_ece``. The model's config keeps it as
            ``adsr_calibration``.

        Raises:
            ValueError: when ``args.calibrate`` is 'none' or there are no held-out images.
            UnfoldableHeadError: when scaling the head does not divide the logits.
            CalibrationError: when no temperature fits. In each case the weights are as they were.
        """
        held_out = self._held_out_images(dataset)
        splits = {"validation": held_out} | ({} if test_dataset is None else {"test": test_dataset})
        model = self.published_model()
        pixel_values, others = self._probe(held_out)
        # Refused before anything is measured.
        head = foldable_head(model, pixel_values, **others)
        before = {split: self._published_logits(images) for split, images in splits.items()}
        temperature = fitted_temperature(before["validation"], self.args.calibration_share)
        if self.teacher is not None:
            # A frozen head is one and the same in student and teacher.
            own_parameters(self.teacher.model.get_submodule(head))
        fold_temperature(model, temperature, pixel_values, **others)
        after = {split: self._published_logits(images) for split, images in splits.items()}
        earlier = getattr(base_network(self.model).config, CONFIG_ENTRY, None) or {}
        record = {
            "temperature": temperature * earlier.get("temperature", 1.0),
            "fitted_on": self.args.calibrate,
            "images": len(before["validation"].labels),
            "share": self.args.calibration_share,
            "weights": "student" if model is self.model else "teacher",
            "before": {split: one.calibration_errors() for split, one in before.items()},
            "after": {split: one.calibration_errors() for split, one in after.items()},
        }
        if self._calibrated_at is not None:
            record["before"] = record["before"] | earlier["before"]
        for network in (self.model, model):
            setattr(base_network(network).config, CONFIG_ENTRY, record)
        self._calibrated_at = len(self.state.log_history)
        split, measured = list(after.items())[-1]
        self._calibrated_measurement = Measurement(split, len(measured.labels), measured.figures())
        return record

    def begin_run(self) -> None:
        """Refuse now what calibration could not do when the run is over; forget one that training will undo."""
        self._calibrated_at = self._calibrated_measurement = None
        config = base_network(self.model).config
        if hasattr(config, CONFIG_ENTRY):
            delattr(config, CONFIG_ENTRY)
        super().begin_run()
        if self.args.calibrate != "none":
            pixel_values, others = self._probe(self._held_out_images(None))
            foldable_head(self.model, pixel_values, **others)

    def card_facts(self, **given: Any) -> CardFacts:
        """See :class:`PublishingTrainer`; with what the model's config says about its calibration."""
        record = getattr(base_network(self.model).config, CONFIG_ENTRY, None)
        calibration = None if record is None else CalibrationFacts.from_record(record)
        return super().card_facts(**({"calibration": calibration} | given))

    def _measurements(self, prefix: str) -> tuple[Measurement, ...]:
        if self._calibrated_at is None or self._calibrated_measurement is None:
            return super()._measurements(prefix)
        # Earlier figures are those of the head before it was scaled.
        history = self.state.log_history[self._calibrated_at :]
        found = measurements(history, step=self.state.global_step, prefix=prefix)
        return found or (self._calibrated_measurement,)

    def _held_out_images(self, dataset: Any) -> Any:
        if self.args.calibrate == "none":
            raise ValueError(
                "calibrate='none' fits no temperature; build the trainer with ADSRConfig(calibrate='clean'), "
                "'adversarial' or 'mixed'"
            )
        images = self.eval_dataset if dataset is None else dataset
        if images is None or isinstance(images, dict):
            found = "there are none" if images is None else f"eval_dataset holds several sets: {', '.join(images)}"
            raise ValueError(
                f"calibrate={self.args.calibrate!r} needs one set of held-out images, and {found}; pass eval_dataset, "
                "or give adsr train a validation_split or a validation_fraction above 0"
            )
        if images is self.train_dataset:
            raise ValueError(
                f"calibrate={self.args.calibrate!r} needs held-out images, and the ones given are the train_dataset, "
                "on which confidence is too high; hold some images out"
            )
        return images

    def _probe(self, dataset: Any) -> tuple[Tensor, dict[str, Any]]:
        """The first images, and what else the model takes: the same in every process."""
        # Not accelerate's loader, which remembers one that was not read to its end.
        collate = self._get_collator_with_removed_columns(self.data_collator)
        loader = DataLoader(dataset, batch_size=_PROBE_IMAGES, collate_fn=collate)
        with torch.random.fork_rng(devices=[]):
            batch = next(iter(loader))
        pixel_values, _, others = self._unpack(self._prepare_inputs(batch))
        return pixel_values, others

    def _published_logits(self, dataset: Any) -> MeasuredLogits:
        """What the published weights now say about these images, clean and under the evaluation attack."""
        evaluator = self.robust_evaluator({"": self.published_model()})
        self.evaluation_loop(
            self.watched(self.get_test_dataloader(dataset), evaluator),
            description="Prediction",
            prediction_loss_only=True,
            metric_key_prefix="calibration",
        )
        return evaluator.measured()[""]
