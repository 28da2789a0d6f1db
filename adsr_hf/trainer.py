"""ADSRTrainer: walks a batch through the rooms. It wires and holds no arithmetic."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adsr_hf.attacks import PixelSpace
from adsr_hf.config import ADSRConfig
from adsr_hf.method.fixed_teacher import load_fixed_teacher
from adsr_hf.method.mixing import mix_batch
from adsr_hf.method.objectives import Objective
from adsr_hf.method.schedules import cosine_anneal
from adsr_hf.method.targets import rectify, smooth_labels
from adsr_hf.networks.adapted import base_network
from adsr_hf.networks.classifier import check_trainable, logits_of
from adsr_hf.networks.normalisation import NormalisationCheck
from adsr_hf.settings.selection import default_figure, figure_of, search_direction
from adsr_hf.trainer_calibration import CalibratingTrainer


class ADSRTrainer(CalibratingTrainer):
    """``transformers.Trainer`` for image classifiers that resist small changes of their input.

    Trains by annealed self-distillation rectification (ADR: Wu et al., ICLR 2024, arXiv 2305.12118), by plain
    adversarial training, or on clean images, as ``args.method`` says. A working ``Trainer(...)`` for image
    classification needs no other change: datasets, collator, processor and ``pixel_values`` stay as they are.

    Beside the user's own ``compute_metrics``, ``evaluate()`` returns ``accuracy``, ``robust_accuracy``, ``ece``,
    ``robust_ece``, ``mean_confidence`` and ``robust_mean_confidence``, and the same for the teacher with ``teacher_``
    before them. Robust figures are of the worst image found: an image that is wrong when clean counts as it is, all
    others as attacked, as in ``adsr evaluate``.

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
        check_trainable(base_network(self.model))
        self._prepare_evaluation(pixel_space)
        self._prepare_attacks()
        self._fixed_teacher: nn.Module | None = None
        self._prepare_loss()
        self._prepare_run()

    # ---- training ------------------------------------------------------------------------------------------------

    def set_up_method(self) -> None:
        """See ResumableTrainer; with the fixed teacher."""
        super().set_up_method()
        self._normalisation = NormalisationCheck(self.pixel_space)
        self._fixed_teacher = None
        if self.args.fixed_teacher is not None:
            self._fixed_teacher = load_fixed_teacher(self.args.fixed_teacher, self.model, self.pixel_space)
            self._fixed_teacher.to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """One batch: pixels, teacher, targets, attack, loss (method.md section 1). In eval mode: Trainer's own loss.

        Plain clean training has Trainer's own loss too, with all that the model adds to it.

        Args:
            model: the model as Trainer wrapped it; only the last forward goes through it.
            inputs: ``pixel_values`` (B, C, H, W) normalised and ``labels`` (B,) int64; the rest goes to the model.
            return_outputs: give the model's output too.
            num_items_in_batch: images of the whole optimizer step, by which the sum over the batch is then divided;
                None = the mean over the batch.

        Raises:
            ValueError: when labels are missing or out of range, pixels do not match the processor, or the model adds
                a loss of its own that the method would drop.
            FloatingPointError: when the loss is NaN or infinite.
        """
        if not model.training:
            loss, outputs = self.trainers_loss(model, inputs, num_items_in_batch)
        else:
            pixel_values, labels, others = self._unpack(inputs)
            if not self.is_set_up:
                self.set_up_method()
            pixels = self.pixel_space.recover(pixel_values)
            self._normalisation.look(pixel_values)
            if self.args.replaces_loss:
                self.refuse_extra_loss(inputs)
                loss, outputs = self._methods_loss(model, pixel_values, pixels, labels, others, num_items_in_batch)
            else:
                loss, outputs = self.trainers_loss(model, inputs, num_items_in_batch)
                self._check_loss(loss)
                self.meters.add({}, images=len(labels))
        return (loss, outputs) if return_outputs else loss

    def _methods_loss(
        self,
        model: nn.Module,
        pixel_values: Tensor,
        pixels: Tensor,
        labels: Tensor,
        others: dict[str, Any],
        images_in_step: Tensor | int | None,
    ) -> tuple[Tensor, Any]:
        self.used_methods_loss = True
        args, figures = self.args, dict[str, Tensor | float]()
        if args.rectifies:
            targets = self._rectified_targets(pixel_values, labels, others, figures)
        else:
            targets = self._fixed_targets(labels)
        if args.mixes:
            mixed = mix_batch(
                pixels, targets, mixup=args.mixup, cutmix=args.cutmix, generator=self._mixing_generator()
            )
            pixels, targets, labels = mixed.pixels, mixed.targets, mixed.targets.argmax(1)
            pixel_values = self._values(pixels, like=pixel_values)
        trained = [pixel_values]
        if args.attacks:
            adversarial = self._attacked(pixels, targets, others, figures)
            self._guard(pixels, adversarial, labels, others)
            attacked = self._values(adversarial, like=pixel_values)
            trained = [pixel_values, attacked] if self._objective.compares else [attacked]
        values, others = torch.cat(trained), _repeated(others, len(labels), len(trained))
        share = self.share_of_step(len(labels), images_in_step)

        def loss_of(outputs: Any) -> Tensor:
            return self._objective.loss(logits_of(outputs, self.num_classes), targets, labels)

        self._perturb_weights(lambda network: loss_of(network(pixel_values=values, **others)) * share)
        outputs = model(pixel_values=values, **others)
        loss = loss_of(outputs)
        self._check_loss(loss)
        if args.attacks:
            answers = logits_of(outputs, self.num_classes).detach()[-len(labels) :].argmax(1)
            figures["attack_success"] = (answers != labels).float().mean()
        self.meters.add(figures, images=len(labels))
        return loss * share, outputs

    def _values(self, pixels: Tensor, *, like: Tensor) -> Tensor:
        values = self.pixel_space.to_pixel_values(pixels)
        # Between grey levels there is no integer: a cast would cut perturbations off.
        return values.to(like.dtype) if like.is_floating_point() else values

    def _fixed_targets(self, labels: Tensor) -> Tensor:
        return smooth_labels(labels, self.num_classes, smoothing=self.args.label_smoothing_factor)

    def _mixing_generator(self) -> np.random.Generator:
        """Seeded from the attacks' own source of random numbers, which a checkpoint holds."""
        source = self.attack_generator
        seed = torch.randint(2**62, (1,), generator=source, device=source.device)
        return np.random.default_rng(int(seed))

    @property
    def _objective(self) -> Objective:
        name = self.args.settled_objective
        return Objective(name, {"trades": self.args.trades_beta, "mart": self.args.mart_beta}.get(name, 0.0))

    def annealed(self) -> tuple[float, float]:
        """Temperature and interpolation at the present optimizer step."""
        args, step, total = self.args, self.state.global_step, self.schedule_steps
        return (
            cosine_anneal(args.temperature_start, args.temperature_end, step=step, total_steps=total),
            cosine_anneal(args.interpolation_start, args.interpolation_end, step=step, total_steps=total),
        )

    def schedules_by_length(self) -> list[str]:
        """See ResumableTrainer; with the labels' annealing."""
        args = self.args
        annealed = {
            "temperature": args.temperature_start != args.temperature_end,
            "interpolation": args.interpolation_start != args.interpolation_end,
        }
        return super().schedules_by_length() + [name for name, moves in annealed.items() if args.rectifies and moves]

    def _rectified_targets(
        self, pixel_values: Tensor, labels: Tensor, others: dict[str, Any], figures: dict[str, Tensor | float]
    ) -> Tensor:
        teacher = self._fixed_teacher
        if teacher is None:
            assert self.teacher is not None
            teacher = self.teacher.model
        with torch.no_grad(), self.accelerator.autocast():
            output = self._maybe_compiled("teacher", teacher)(pixel_values=pixel_values, **others)
        temperature, interpolation = self.annealed()
        rectified = rectify(
            logits_of(output, self.num_classes), labels, temperature=temperature, interpolation=interpolation
        )
        figures["temperature"], figures["interpolation"] = temperature, interpolation
        figures["mean_lambda"] = rectified.interpolation.mean()
        figures["teacher_agreement"] = (rectified.tempered.argmax(1) == labels).float().mean()
        figures["label_entropy"] = torch.special.entr(rectified.targets).sum(1).mean()
        return rectified.targets

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, float]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Trainer's search, whose default objective would be the sum of all figures, here the one that chooses.

        Args:
            compute_objective: default: the figure that ``args.metric_for_best_model`` names, or would by default.
            direction: default: as ``args.greater_is_better`` says; with ``compute_objective``, ``"minimize"``.

        Raises:
            ValueError: when ``direction`` contradicts the default objective.
        """
        if compute_objective is None:
            figure = self.args.metric_for_best_model or default_figure(self.args)
            direction = search_direction(self.args, figure, direction)
            compute_objective = partial(figure_of, figure)
        return super().hyperparameter_search(
            hp_space, compute_objective, n_trials, "minimize" if direction is None else direction, **kwargs
        )

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


def _repeated(others: dict[str, Any], images: int, times: int) -> dict[str, Any]:
    """The model's other inputs for a batch that holds every image several times."""
    if times == 1:
        return others

    def repeat(value: Any) -> Any:
        return torch.cat([value] * times) if isinstance(value, Tensor) and value.shape[:1] == (images,) else value

    return {name: repeat(value) for name, value in others.items()}
