"""Whose loss a batch has, Trainer's or the method's, and whether a model's own loss would be lost."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adsr_hf.config import ADSRConfig
from adsr_hf.method.objectives import Objective, soft_cross_entropy
from adsr_hf.method.targets import one_hot_labels
from adsr_hf.networks.classifier import bare_copy, logits_of
from adsr_hf.training.batch import unpack
from adsr_hf.training.model_loss import ModelLoss, model_loss

# Trainer's own loss of inputs, divided by a number of images where one is given, and the model's output.
UpstreamLoss = Callable[[Mapping[str, Any], Tensor | int | None], tuple[Tensor, Any]]


class StepLoss:
    """Keeps Trainer's own loss where the method has none of its own.

    Args:
        args: the run's settings.
        num_classes: K.
        accelerator: computes in the run's precision.
    """

    def __init__(self, args: ADSRConfig, *, num_classes: int, accelerator: Accelerator) -> None:
        self._args, self._num_classes = args, num_classes
        self._accelerator = accelerator
        self.begin()

    def begin(self) -> None:
        """Start anew: the model may have become another."""
        self._looked = False
        self._found: ModelLoss | None = None
        self._methods_was_asked = False

    def objective(self) -> Objective:
        """The method's."""
        self._methods_was_asked = True
        args, name = self._args, self._args.settled_objective
        betas = {"trades": args.trades_beta, "mart": args.mart_beta, "ikl": args.ikl_beta}
        return Objective(name, betas.get(name, 0.0), args.ikl_alpha if name == "ikl" else 0.0)

    def upstream(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        *,
        bare_model: nn.Module,
        compute: UpstreamLoss,
        counted: Tensor | int | None,
        smooths: bool,
        takes_count: bool,
        share: Callable[[int], Tensor | float],
    ) -> tuple[Tensor, Any]:
        """Trainer's own loss and the model's output; the cross-entropy of its logits where the model computes none.

        Args:
            model: as Trainer wrapped it.
            bare_model: the same, not wrapped.
            compute: Trainer's ``compute_loss``.
            counted: images of the optimizer step, where Trainer counted them.
            smooths: whether Trainer's label smoother makes the loss.
            takes_count: whether Trainer takes the model for one that can be given the number of images.
            share: of so many images in their optimizer step.
        """
        labels = inputs.get("labels")
        if isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point():
            # Models take narrower integers for labels of another problem.
            inputs = {**inputs, "labels": labels.long()}
        if smooths:
            return compute(inputs, counted)
        found = self._own_loss(bare_model, inputs, takes_count)
        if found is not None and (found.counts or counted is None):
            return compute(inputs, counted)
        if found is not None:
            # Trainer relies on a division that this model leaves out: accumulated steps and further processes would
            # multiply the loss.
            loss, outputs = compute(inputs, None)
            return loss * share(len(inputs["labels"])), outputs
        batch = unpack(inputs, self._num_classes)
        outputs = model(pixel_values=batch.pixel_values, **batch.others)
        targets = one_hot_labels(batch.labels, self._num_classes)
        loss = soft_cross_entropy(logits_of(outputs, self._num_classes), targets)
        return loss * share(len(batch.labels)), outputs

    def refuse_extra(self, bare_model: nn.Module, inputs: Mapping[str, Any], *, takes_count: bool) -> None:
        """Refuse a model whose own loss is more than the cross-entropy, where the method has another loss.

        Raises:
            ValueError: with what the model's loss adds.
        """
        found = self._own_loss(bare_model, inputs, takes_count)
        if found is not None and found.added:
            raise ValueError(
                f"model={type(bare_model).__name__} has a loss of its own, {found.added:+.4g} beside the "
                f"cross-entropy of its logits on the first batch, which method={self._args.method!r} would drop; let "
                "forward() return the cross-entropy alone and add the rest in an overridden compute_loss, or use "
                "method='clean'"
            )

    def refuse_bypassing(self, trainer_class: str) -> None:
        """Refuse, after a step, a subclass that trains without the method and would be published under it.

        Raises:
            ValueError: where :meth:`objective` was not asked for though the method replaces the loss.
        """
        if self._args.replaces_loss and not self._methods_was_asked:
            raise ValueError(
                f"method={self._args.method!r} was not asked for its loss in the first step: {trainer_class} "
                "overrides compute_loss or training_step and does not call ADSRTrainer's, so that nothing was "
                "attacked, mixed or perturbed. Call super().compute_loss(...) and change what it returns; or leave "
                "the whole loss to yours with method='clean', without mixing and weight_perturbation"
            )

    def _own_loss(self, bare_model: nn.Module, inputs: Mapping[str, Any], takes_count: bool) -> ModelLoss | None:
        """What the model's own loss is, found with the first batch."""
        if not self._looked:
            others = {name: value for name, value in inputs.items() if name not in ("pixel_values", "labels")}
            # Some models add to their loss in training mode alone, where a pass changes batch statistics.
            in_training = self._args.replaces_loss and bare_model.training
            with self._accelerator.autocast():
                self._found = model_loss(
                    bare_copy(bare_model) if in_training else bare_model,
                    inputs["pixel_values"],
                    others,
                    self._num_classes,
                    takes_count=takes_count,
                    keep_modes=in_training,
                )
            self._looked = True
        return self._found


def refuse_loss_function(compute_loss_func: Any) -> None:
    """Raise ValueError where Trainer was given a loss of finished outputs: the loss is the method's own."""
    if compute_loss_func is not None:
        raise ValueError(
            "compute_loss_func cannot be used: the loss is the method's own. Leave it out, or use Trainer"
        )


def refuse_infinite(loss: Tensor, *, step: int, output_dir: str | None) -> None:
    """Stop a run that has diverged, before its weights are spoiled.

    Raises:
        FloatingPointError: when the loss is NaN or infinite.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss.item()} at step {step}; training stops here and earlier checkpoints in {output_dir} "
            "are untouched. Lower learning_rate, set max_grad_norm=1.0, or use bf16 instead of fp16"
        )
