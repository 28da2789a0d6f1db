"""Evaluation inside training: clean, robust and calibration figures of the student and the teacher."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy

from adsr_hf.attacks import PixelSpace
from adsr_hf.measures.overfitting import robust_overfitting
from adsr_hf.networks.classifier import number_of_classes
from adsr_hf.trainer_resumption import ResumableTrainer
from adsr_hf.training.evaluator import RobustEvaluator, WatchedLoader


class EvaluatingTrainer(ResumableTrainer):
    """Trainer whose ``evaluate`` attacks: see :class:`adsr_hf.ADSRTrainer` for the figures."""

    def _prepare_evaluation(self, pixel_space: PixelSpace | None) -> None:
        """Set up what evaluation needs; called once when the trainer is built."""
        self.num_classes = number_of_classes(self.model)
        self.pixel_space = pixel_space or PixelSpace.from_processor(self.processing_class)

    def begin_run(self) -> None:
        """See ResumableTrainer; refuse labels that training or evaluating in training would stumble over."""
        self.check_labels(self.train_dataset, name="train_dataset")
        if self.args.eval_strategy != IntervalStrategy.NO:
            self.check_labels(self.eval_dataset, name="eval_dataset")
        super().begin_run()

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Trainer's own, with robust accuracy and calibration of student and teacher added to an evaluation.

        What ``predict`` asks for is Trainer's alone; in an evaluation, Trainer's figures and the user's win where
        names agree, and each batch is attacked before Trainer sees it.
        """
        # Data loaders draw a seed from the global generator, which dropout and shuffling go on to use.
        with torch.random.fork_rng(devices=[]):
            if description == "Prediction":
                return super().evaluation_loop(
                    dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
                )
            self.check_labels(getattr(dataloader, "dataset", None), name="the evaluation set")
            evaluator = self.robust_evaluator(self._measured_networks())
            output = super().evaluation_loop(
                self.watched(dataloader, evaluator), description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        self.callback_handler.eval_dataloader = dataloader
        own = {f"{metric_key_prefix}_{name}": value for name, value in evaluator.figures().items()}
        return output._replace(metrics=own | (output.metrics or {}))

    def robust_evaluator(self, networks: Mapping[str, nn.Module]) -> RobustEvaluator:
        """One for a single evaluation of these networks, named by the prefix of their figures."""
        args = self.args
        return RobustEvaluator(
            networks,
            attack=args.evaluation_attack if args.eval_attack_steps > 0 else None,
            pixel_space=self.pixel_space,
            num_classes=self.num_classes,
            accelerator=self.accelerator,
            seed=args.seed + args.process_index,
        )

    def watched(self, dataloader: DataLoader, evaluator: RobustEvaluator) -> Any:
        """The loader, whose every batch the evaluator measures before it is handed on."""
        return WatchedLoader(dataloader, lambda batch: evaluator.add(*self._unpack(self._prepare_inputs(batch))))

    def robust_overfitting(self) -> dict[str, dict[str, float]]:
        """Best and last robust accuracy of the run and the gap between them, for ``student`` and ``teacher``."""
        figures = {"student": "eval_robust_accuracy", "teacher": "eval_teacher_robust_accuracy"}
        found = {name: robust_overfitting(self.state.log_history, figure) for name, figure in figures.items()}
        return {name: drop for name, drop in found.items() if drop is not None}

    def _measured_networks(self) -> dict[str, nn.Module]:
        """Bare networks by the prefix of their figures."""
        networks: dict[str, nn.Module] = {}
        if self.args.evaluate_weights in ("both", "student") or self.teacher is None:
            networks[""] = self.model
        if self.args.evaluate_weights in ("both", "teacher") and self.teacher is not None:
            networks["teacher_"] = self.teacher.model
        return networks

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
