"""Whose loss a batch has, Trainer's or the method's, and how much of an optimizer step the batch is."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from adsr_hf.method.objectives import soft_cross_entropy
from adsr_hf.method.targets import one_hot_labels
from adsr_hf.networks.classifier import bare_copy, logits_of
from adsr_hf.trainer_evaluation import EvaluatingTrainer
from adsr_hf.training.model_loss import ModelLoss, model_loss


class LossTrainer(EvaluatingTrainer):
    """Trainer that keeps Trainer's own loss where the method has none of its own; see :class:`adsr_hf.ADSRTrainer`."""

    label_names: list[str]

    def _prepare_loss(self) -> None:
        """Set up what losses need; called once when the trainer is built."""
        # Trainer sets it at each optimizer step, but a single training_step may come before the first.
        self.current_gradient_accumulation_steps = 1
        self._images_in_step: Tensor | int | None = None
        self._model_loss: ModelLoss | None = None
        self._looked_at_loss = False
        self.used_methods_loss = False
        if self.args.label_names is None and not self.label_names:
            # Trainer reads them off the model's forward, and this one leaves the loss to others.
            self.label_names = ["labels"]

    def set_up_method(self) -> None:
        """See ResumableTrainer; the model may have become another."""
        super().set_up_method()
        self._looked_at_loss = False
        self.used_methods_loss = False

    def trainers_loss(
        self, model: nn.Module, inputs: dict[str, Any], images_in_step: Tensor | int | None
    ) -> tuple[Tensor, Any]:
        """Trainer's own loss and the model's output; the cross-entropy of its logits where the model computes none."""
        labels = inputs.get("labels")
        if isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point():
            # Models take narrower integers for labels of another problem.
            inputs = {**inputs, "labels": labels.long()}
        if self.label_smoother is not None:
            return super().compute_loss(model, inputs, True, images_in_step)
        own = self._own_loss(inputs)
        if own is not None and (own.counts or images_in_step is None):
            return super().compute_loss(model, inputs, True, images_in_step)
        if own is not None:
            # Trainer relies on a division that this model leaves out: accumulated steps and further processes would
            # multiply the loss.
            images = len(inputs["labels"])
            loss, outputs = super().compute_loss(model, inputs, True, None)
            return loss * self.share_of_step(images, images_in_step), outputs
        pixel_values, labels, others = self._unpack(inputs)
        outputs = model(pixel_values=pixel_values, **others)
        targets = one_hot_labels(labels, self.num_classes)
        loss = soft_cross_entropy(logits_of(outputs, self.num_classes), targets)
        return loss * self.share_of_step(len(labels), images_in_step), outputs

    def refuse_extra_loss(self, inputs: dict[str, Any]) -> None:
        """Refuse a model whose own loss is more than the cross-entropy, where the method has another loss.

        Raises:
            ValueError: with what the model's loss adds.
        """
        own = self._own_loss(inputs)
        if own is not None and own.added:
            raise ValueError(
                f"model={type(self.model).__name__} has a loss of its own, {own.added:+.4g} beside the cross-entropy "
                f"of its logits on the first batch, which method={self.args.method!r} would drop; let forward() "
                "return the cross-entropy alone and add the rest in an overridden compute_loss, or use method='clean'"
            )

    def _own_loss(self, inputs: dict[str, Any]) -> ModelLoss | None:
        """What the model's own loss is, found with the first batch."""
        if not self._looked_at_loss:
            others = {name: value for name, value in inputs.items() if name not in ("pixel_values", "labels")}
            # Some models add to their loss in training mode alone, where a pass changes batch statistics.
            in_training = self.args.replaces_loss and self.model.training
            with self.accelerator.autocast():
                self._model_loss = model_loss(
                    bare_copy(self.model) if in_training else self.model,
                    inputs["pixel_values"],
                    others,
                    self.num_classes,
                    takes_count=self.model_accepts_loss_kwargs,
                    keep_modes=in_training,
                )
            self._looked_at_loss = True
        return self._model_loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Trainer's own; the images of the optimizer step are counted also for models that Trainer counts none for."""
        batches, counted = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._images_in_step = None
        if counted is None and all("labels" in batch for batch in batches):
            images = torch.tensor(sum(len(batch["labels"]) for batch in batches), device=device)
            self._images_in_step = self.accelerator.reduce(images, "sum")
        return batches, counted

    def after_optimizer_step(self) -> None:
        """See ResumableTrainer; refuse a subclass that trains without the method and would be published under it."""
        super().after_optimizer_step()
        self._images_in_step = None
        if self.args.replaces_loss and not self.used_methods_loss:
            raise ValueError(
                f"method={self.args.method!r} was not asked for its loss in the first step: {type(self).__name__} "
                "overrides compute_loss or training_step and does not call ADSRTrainer's, so that nothing was "
                "attacked, mixed or perturbed. Call super().compute_loss(...) and change what it returns; or leave "
                "the whole loss to yours with method='clean', without mixing and weight_perturbation"
            )

    def share_of_step(self, images: int, images_in_step: Tensor | int | None) -> Tensor | float:
        """Weight that makes every image of an optimizer step count alike, over unequal micro-batches and processes."""
        if images_in_step is not None:
            return images * self.args.world_size / images_in_step
        if self._images_in_step is None:
            return 1.0
        # Trainer, which did not count, takes this for a mean and divides it by the number of micro-batches.
        return images * self.args.world_size * self.current_gradient_accumulation_steps / self._images_in_step
