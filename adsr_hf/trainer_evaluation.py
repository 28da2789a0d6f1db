"""Evaluation inside training: clean, robust and calibration figures of the student and the teacher."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EvalPrediction

from adsr_hf.attacks import PixelSpace
from adsr_hf.attacks.isolation import under_attack
from adsr_hf.classifier import logits_of, number_of_classes, pixels_to_logits
from adsr_hf.evaluation.figures import prediction_figures, worst_case_logits
from adsr_hf.evaluation.overfitting import robust_overfitting
from adsr_hf.trainer_resumption import ResumableTrainer


class EvaluatingTrainer(ResumableTrainer):
    """Trainer whose ``evaluate`` attacks: see :class:`adsr_hf.ADSRTrainer` for the figures."""

    def _prepare_evaluation(self, pixel_space: PixelSpace | None) -> None:
        """Set up what evaluation needs; called once when the trainer is built."""
        self.num_classes = number_of_classes(self.model)
        self.pixel_space = pixel_space or PixelSpace.from_processor(self.processing_class)
        # Trainer computes metrics only where there is a function for it; this one adds to the user's.
        self._user_metrics: Callable[[EvalPrediction], dict[str, float]] | None = self.compute_metrics
        self._user_view: Callable[[Tensor, Tensor], Tensor] | None = self.preprocess_logits_for_metrics
        self.compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = self._compute_metrics
        self.preprocess_logits_for_metrics: Callable[[Tensor, Tensor], Tensor] | None = None
        self._measures_robustness = False
        self._prediction_names: list[str] = []

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trainer's ``evaluate``, with robust accuracy and calibration of student and teacher."""
        outer, self._measures_robustness = self._measures_robustness, True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._measures_robustness = outer

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        # A generator of its own: evaluating must not change the training that follows.
        self._evaluation_generator = torch.Generator(self.args.device).manual_seed(
            self.args.seed + self.args.process_index
        )
        if not self._measures_robustness:
            self.compute_metrics = self._compute_metrics if self._user_metrics is not None else None
            self.preprocess_logits_for_metrics = self._user_view
        try:
            # Data loaders draw a seed from the global generator, which dropout and shuffling go on to use.
            with torch.random.fork_rng(devices=[]):
                return super().evaluation_loop(*args, **kwargs)
        finally:
            self.compute_metrics, self.preprocess_logits_for_metrics = self._compute_metrics, None

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """During ``evaluate``: logits of each measured network, clean and worst found. Elsewhere: as in Trainer."""
        if not self._measures_robustness:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys=ignore_keys)
        pixel_values, labels, others = self._unpack(self._prepare_inputs(inputs))
        pixels = self.pixel_space.recover(pixel_values)
        predictions: dict[str, Tensor] = {}
        for prefix, network in self._measured_networks().items():
            with torch.no_grad(), self.accelerator.autocast():
                output = network(pixel_values=pixel_values, **others)
            clean = predictions[prefix] = logits_of(output, self.num_classes).detach().float()
            if self.args.eval_attack_steps > 0:
                attacked = self._logits_under_attack(network, pixels, labels, others)
                predictions[f"{prefix}robust_"] = worst_case_logits(clean, attacked, labels)
        shown = next(iter(predictions.values()))
        if self._user_view is not None:
            shown = self._user_view(shown, labels)
        self._prediction_names = list(predictions)
        return None, (shown, *predictions.values()), labels.detach()

    def robust_overfitting(self) -> dict[str, dict[str, float]]:
        """Best and last robust accuracy of the run and the gap between them, for ``student`` and ``teacher``."""
        figures = {"student": "eval_robust_accuracy", "teacher": "eval_teacher_robust_accuracy"}
        found = {name: robust_overfitting(self.state.log_history, figure) for name, figure in figures.items()}
        return {name: drop for name, drop in found.items() if drop is not None}

    def _logits_under_attack(
        self, network: nn.Module, pixels: Tensor, labels: Tensor, others: dict[str, Any]
    ) -> Tensor:
        logits_fn = pixels_to_logits(network, self.pixel_space, self.num_classes, **others)
        with under_attack(network), self.accelerator.autocast():
            adversarial = self.args.evaluation_attack.attack(
                logits_fn, pixels, labels, generator=self._evaluation_generator
            )
            with torch.no_grad():
                return logits_fn(adversarial).float()

    def _measured_networks(self) -> dict[str, nn.Module]:
        """Bare networks by the prefix of their figures; the first is the one that the user's metrics see."""
        networks: dict[str, nn.Module] = {}
        if self.args.evaluate_weights in ("both", "student") or self.teacher is None:
            networks[""] = self.model
        if self.args.evaluate_weights in ("both", "teacher") and self.teacher is not None:
            networks["teacher_"] = self.teacher.model
        return networks

    def _compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """This class's figures, then the user's own, which win where names agree."""
        if not self._measures_robustness:
            return self._user_metrics(prediction) if self._user_metrics is not None else {}
        shown, *arrays = prediction.predictions
        logits = {name: torch.as_tensor(array) for name, array in zip(self._prediction_names, arrays, strict=True)}
        labels = torch.as_tensor(prediction.label_ids)
        figures: dict[str, float] = {"images": len(labels)}
        for prefix in self._measured_networks():
            for condition in (prefix, f"{prefix}robust_"):
                if condition in logits:
                    figures |= _prefixed(condition, prediction_figures(logits[condition], labels))
        if self._user_metrics is not None:
            seen = EvalPrediction(shown, prediction.label_ids, inputs=prediction.inputs, losses=prediction.losses)
            figures |= self._user_metrics(seen)
        return figures

    def _unpack(self, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        others = dict(inputs)
        pixel_values, labels = others.pop("pixel_values", None), others.pop("labels", None)
        if pixel_values is None or labels is None:
            raise ValueError(
                f"a batch must hold pixel_values and labels, got {sorted(inputs)}; rename the label column to "
                "'labels', or let the collator do it (transformers' DefaultDataCollator turns 'label' into 'labels')"
            )
        if labels.ndim != 1 or labels.is_floating_point():
            raise ValueError(
                f"labels must be one class index for each image, got shape {tuple(labels.shape)} and {labels.dtype}; "
                "mixed or multi-label targets are not supported"
            )
        low, high = torch.stack(torch.aminmax(labels)).tolist()
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"labels run from {low} to {high}, but the model has classes 0 to {self.num_classes - 1}; load "
                "it with num_labels set to the number of classes, or correct the labels"
            )
        return pixel_values, labels.long(), others


def _prefixed(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in figures.items()}
