"""ADSRTrainer: walks a batch through the rooms. It wires and holds no arithmetic."""

from typing import Any

import torch
from torch import Tensor, nn

from adsr_hf.attacks import PixelSpace
from adsr_hf.attacks.isolation import under_attack
from adsr_hf.attacks.precision import BFloat16Copy
from adsr_hf.classifier import check_trainable, logits_of, pixels_to_logits
from adsr_hf.config import ADSRConfig
from adsr_hf.objectives import soft_cross_entropy
from adsr_hf.schedules import cosine_anneal, linear_ramp
from adsr_hf.targets import rectify, smooth_labels
from adsr_hf.trainer_publishing import PublishingTrainer


class ADSRTrainer(PublishingTrainer):
    """``transformers.Trainer`` for image classifiers that resist small changes of their input.

    Trains by annealed self-distillation rectification (ADR: Wu et al., ICLR 2024, arXiv 2305.12118), by plain
    adversarial training, or on clean images, as ``args.method`` says. A working ``Trainer(...)`` for image
    classification needs no other change: datasets, collator, processor and ``pixel_values`` stay as they are.

    Beside the user's own ``compute_metrics``, ``evaluate()`` returns ``accuracy``, ``robust_accuracy``, ``ece``,
    ``robust_ece``, ``mean_confidence`` and ``robust_mean_confidence``, and the same for the teacher with ``teacher_``
    before them. An image counts as robust only if it is right both clean and attacked.

    Args:
        model: any ``AutoModelForImageClassification`` (or ``model_init``, as in Trainer).
        args: an :class:`ADSRConfig`.
        processing_class: the image processor, whose mean and standard deviation give back the pixels.
        pixel_space: how inputs are normalised, for datasets that were prepared without an image processor.
        kwargs: everything else that ``transformers.Trainer`` takes.

    Raises:
        TypeError: when ``args`` is not an ADSRConfig.
        ValueError: when the model is no single-label classifier, the processor is no image processor, or a Trainer
            option is given that the method cannot honour.
    """

    # Trainer divides the loss by the number of micro-batches of an optimizer step; `_share` allows for their sizes.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: nn.Module | None = None,
        args: ADSRConfig | None = None,
        *positional: Any,
        pixel_space: PixelSpace | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, ADSRConfig):
            raise TypeError(
                f"args={type(args).__name__} must be an ADSRConfig, which takes every field of TrainingArguments: "
                "ADSRTrainer(model, ADSRConfig(output_dir=...), ...)"
            )
        super().__init__(model, args, *positional, **kwargs)
        if self.compute_loss_func is not None:
            raise ValueError(
                "compute_loss_func cannot be used: the loss is the method's own. Leave it out, or use Trainer"
            )
        check_trainable(self.model)
        # Asks Trainer to count the images of each optimizer step, whatever the model's own forward takes.
        self.model_accepts_loss_kwargs = True
        self._prepare_evaluation(pixel_space)
        self._compiled: dict[str, Any] = {}
        self._bfloat16_copy: BFloat16Copy | None = None
        self._copied_at_step = -1
        self._prepare_run()

    # ---- training ------------------------------------------------------------------------------------------------

    def begin_run(self) -> None:
        super().begin_run()
        self._compiled = {}
        self._bfloat16_copy = BFloat16Copy(self.model) if self._uses_copy() else None
        self._copied_at_step = -1

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """One batch: pixels, teacher, targets, attack, loss (method.md section 1). In eval mode: the clean loss.

        Args:
            model: the model as Trainer wrapped it; only the last forward goes through it.
            inputs: ``pixel_values`` (B, C, H, W) normalised and ``labels`` (B,) int64; the rest goes to the model.

        Raises:
            ValueError: when labels are missing or out of range, or pixels do not match the processor.
            FloatingPointError: when the loss is NaN or infinite.
        """
        pixel_values, labels, others = self._unpack(inputs)
        figures: dict[str, Tensor | float] = {}
        if model.training and self.args.method == "adsr":
            targets = self._rectified_targets(pixel_values, labels, others, figures)
        else:
            targets = smooth_labels(labels, self.num_classes, smoothing=self.args.label_smoothing_factor)
        if model.training:
            pixels = self.pixel_space.recover(pixel_values)
            if self.args.attacks:
                pixel_values = self._attacked(pixels, targets, others, figures).to(pixel_values.dtype)
        outputs = model(pixel_values=pixel_values, **others)
        logits = logits_of(outputs, self.num_classes)
        loss = soft_cross_entropy(logits, targets)
        if model.training:
            self._check_loss(loss)
            loss = loss * self._share(len(labels), num_items_in_batch)
            if self.args.attacks:
                figures["attack_success"] = (logits.detach().argmax(1) != labels).float().mean()
            self.meters.add(figures, images=len(labels))
        return (loss, outputs) if return_outputs else loss

    def _share(self, images: int, images_in_step: Tensor | int | None) -> Tensor | float:
        """Weight that makes every image of an optimizer step count alike, over unequal micro-batches and processes."""
        if images_in_step is None:
            return 1.0
        return images * self.current_gradient_accumulation_steps * self.args.world_size / images_in_step

    def annealed(self) -> tuple[float, float]:
        """Temperature and interpolation at the present optimizer step."""
        args, step, total = self.args, self.state.global_step, max(self.state.max_steps, 1)
        return (
            cosine_anneal(args.temperature_start, args.temperature_end, step=step, total_steps=total),
            cosine_anneal(args.interpolation_start, args.interpolation_end, step=step, total_steps=total),
        )

    def _rectified_targets(
        self, pixel_values: Tensor, labels: Tensor, others: dict[str, Any], figures: dict[str, Tensor | float]
    ) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad(), self.accelerator.autocast():
            output = self._maybe_compiled("teacher", self.teacher.model)(pixel_values=pixel_values, **others)
        temperature, interpolation = self.annealed()
        rectified = rectify(
            logits_of(output, self.num_classes), labels, temperature=temperature, interpolation=interpolation
        )
        figures["temperature"], figures["interpolation"] = temperature, interpolation
        figures["mean_lambda"] = rectified.interpolation.mean()
        figures["teacher_agreement"] = (rectified.tempered.argmax(1) == labels).float().mean()
        figures["label_entropy"] = torch.special.entr(rectified.targets).sum(1).mean()
        return rectified.targets

    def _attacked(
        self, pixels: Tensor, targets: Tensor, others: dict[str, Any], figures: dict[str, Tensor | float]
    ) -> Tensor:
        """Normalised adversarial inputs, found on the bare model, so that gradient sync is never involved."""
        victim = self._victim()
        attack = self.args.training_attack(self._epsilon_scale())
        keep_modes = self.args.attack_mode == "train"
        with under_attack(victim, keep_modes=keep_modes):
            network = self._maybe_compiled("attack", victim)
            logits_fn = pixels_to_logits(network, self.pixel_space, self.num_classes, **others)
            result = attack.run(logits_fn, pixels, targets, generator=self.attack_generator)
        figures["epsilon"] = attack.threat.epsilon
        figures["zero_gradient_share"] = result.zero_gradient_share
        figures["perturbation_norm"] = self.args.threat.distance(pixels, result.images).mean()
        return self.pixel_space.to_pixel_values(result.images)

    def _epsilon_scale(self) -> float:
        share = self.args.epsilon_ramp_epochs / max(self.state.num_train_epochs, 1)
        return linear_ramp(step=self.state.global_step, ramp_steps=share * self.state.max_steps)

    def _victim(self) -> nn.Module:
        if self._bfloat16_copy is None:
            return self.model
        if self._copied_at_step != self.state.global_step:
            self._bfloat16_copy.refresh(self.model)
            self._copied_at_step = self.state.global_step
        return self._bfloat16_copy.model

    def _uses_copy(self) -> bool:
        return self.args.attacks and self.args.attack_precision == "bf16"

    def _maybe_compiled(self, name: str, network: nn.Module) -> Any:
        if not self.args.torch_compile:
            return network
        if name not in self._compiled:
            self._compiled[name] = torch.compile(
                network, backend=self.args.torch_compile_backend, mode=self.args.torch_compile_mode
            )
        return self._compiled[name]

    # ---- logging -------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the method's training figures to Trainer's loss lines."""
        if "loss" in logs and self.is_in_train:
            logs |= self._training_figures()
        super().log(logs, start_time)

    def _training_figures(self) -> dict[str, float]:
        names, totals = self.meters.totals(self.args.device)
        self.meters.reset()
        # Gloo and NCCL reduce float64; accelerate returns the tensor itself in a single process.
        *sums, images, seconds = self.accelerator.reduce(totals, "sum").tolist()
        figures = {name: value / images for name, value in zip(names, sums, strict=True)} if images else {}
        if seconds:
            figures["images_per_second"] = images / (seconds / self.args.world_size)
        return figures

    # ---- checks --------------------------------------------------------------------------------------------------

    def _check_loss(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.state.global_step}; training stops here and earlier "
                f"checkpoints in {self.args.output_dir} are untouched. Lower learning_rate, set max_grad_norm=1.0, or "
                "use bf16 instead of fp16"
            )
