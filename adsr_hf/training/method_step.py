"""One batch of the method (method.md section 1): teacher, targets, mixing, attack, perturbed weights, loss."""

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adsr_hf.config import ADSRConfig
from adsr_hf.method.mixing import mix_batch
from adsr_hf.method.objectives import Objective
from adsr_hf.method.targets import smooth_labels
from adsr_hf.method.weight_perturbation import WeightPerturbation
from adsr_hf.networks.classifier import logits_of
from adsr_hf.networks.normalisation import NormalisationCheck
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.training.attack import TrainingAttack
from adsr_hf.training.batch import Batch, normalised, repeated
from adsr_hf.training.class_means_keeper import ClassMeansKeeper
from adsr_hf.training.compilation import CompiledNetworks
from adsr_hf.training.meters import TrainingMeters
from adsr_hf.training.optimization import weight_perturbation_for
from adsr_hf.training.position import RunPosition
from adsr_hf.training.processes import gradient_scale, mean_over_processes
from adsr_hf.training.step_loss import refuse_infinite
from adsr_hf.training.teacher_keeper import TeacherKeeper


class MethodStep:
    """Walks a batch through the rooms: each hands its result to the next, and no step reaches back.

    Attributes:
        teacher: gives the targets.
        attack: finds the images.
        class_means: weighs the images' classes; keeps nothing where the objective weighs none.
        weight_perturbation: moves the weights for a step; None where nothing does.
        meters: gets the figures.

    Args:
        args: the run's settings.
        pixel_space: how inputs are normalised.
        num_classes: K.
        accelerator: computes in the run's precision, over all processes.
        log: writes figures of a single step into the run's log.
    """

    def __init__(
        self,
        args: ADSRConfig,
        *,
        pixel_space: PixelSpace,
        num_classes: int,
        accelerator: Accelerator,
        log: Callable[[dict[str, float]], None],
    ) -> None:
        self._args, self._pixel_space, self._num_classes = args, pixel_space, num_classes
        self._accelerator, self._log = accelerator, log
        self._compiled = compiled = CompiledNetworks(args)
        self.teacher = TeacherKeeper(args, num_classes=num_classes, accelerator=accelerator, compiled=compiled)
        self.attack = TrainingAttack(
            args, pixel_space=pixel_space, num_classes=num_classes, accelerator=accelerator, compiled=compiled
        )
        self.class_means = ClassMeansKeeper(args, num_classes=num_classes, accelerator=accelerator)
        self.meters = TrainingMeters()
        self.weight_perturbation: WeightPerturbation | None = None
        self._normalisation: NormalisationCheck | None = None

    @property
    def has_begun(self) -> bool:
        """Whether :meth:`begin` was called."""
        return self._normalisation is not None

    def begin(self, model: nn.Module) -> None:
        """Build what a step needs from the bare model as it now is: for a run, or for a step before it.

        Raises:
            ValueError: when the settings do not go together, or with this model.
        """
        # A search for hyperparameters or a second run may have changed the method and the seed.
        self._args.check_method()
        self._args.settle_figure()
        self.meters.restart()
        self._compiled.forget()
        self.attack.begin(model)
        self.weight_perturbation = weight_perturbation_for(self._args, model)
        self.teacher.begin(model, self._pixel_space)
        self.class_means.begin()
        self._normalisation = NormalisationCheck(self._pixel_space)

    def pixels(self, batch: Batch) -> Tensor:
        """The batch's images, (B, C, H, W), float32, in [0, 1].

        Raises:
            ValueError: when they do not fit the image processor.
        """
        assert self._normalisation is not None
        pixels = self._pixel_space.recover(batch.pixel_values)
        self._normalisation.look(batch.pixel_values)
        return pixels

    def schedules_by_length(self, position: RunPosition) -> list[str]:
        """Settings whose effect depends on the length of the run."""
        drops = ["learning_rate_drops"] if self._args.learning_rate_drops else []
        in_epochs = [] if position.has_epochs else self.attack.schedules_in_epochs()
        return drops + in_epochs + self.attack.schedules_by_length() + self.teacher.schedules_by_length()

    def loss(
        self,
        model: nn.Module,
        bare_model: nn.Module,
        batch: Batch,
        pixels: Tensor,
        objective: Objective,
        position: RunPosition,
        *,
        share: Tensor | float,
    ) -> tuple[Tensor, Any]:
        """The objective on this batch, and the model's output.

        Args:
            model: as Trainer wrapped it; only the last forward goes through it.
            bare_model: the same, not wrapped, which is attacked and perturbed.
            pixels: the batch's images, see :meth:`pixels`.
            share: of the batch in its optimizer step; a factor of the loss.

        Raises:
            FloatingPointError: when the loss is NaN or infinite.
        """
        args, classes = self._args, self._num_classes
        pixel_values, labels, others = batch
        targets, figures = self._targets(batch, position)
        if args.mixes:
            generator = self.attack.mixing_generator()
            mixed = mix_batch(pixels, targets, mixup=args.mixup, cutmix=args.cutmix, generator=generator)
            pixels, targets, labels = mixed.pixels, mixed.targets, mixed.targets.argmax(1)
            pixel_values = normalised(pixels, self._pixel_space, like=pixel_values)
        trained = [pixel_values]
        if args.attacks:
            adversarial, attack_figures = self.attack.run(bare_model, pixels, targets, others, position)
            figures |= attack_figures
            if seen := self.attack.watch(bare_model, pixels, adversarial, labels, others, position):
                self._log(seen)
            attacked = normalised(adversarial, self._pixel_space, like=pixel_values)
            trained = [pixel_values, attacked] if objective.compares else [attacked]
        weights = self.class_means.weights(labels, position)
        values, others = torch.cat(trained), repeated(others, len(labels), len(trained))

        def loss_of(outputs: Any) -> Tensor:
            return objective.loss(logits_of(outputs, classes), targets, labels, class_weights=weights)

        self._perturb(lambda network: loss_of(network(pixel_values=values, **others)) * share, position)
        outputs = model(pixel_values=values, **others)
        loss = loss_of(outputs)
        refuse_infinite(loss, step=position.step, output_dir=args.output_dir)
        logits = logits_of(outputs, classes).detach()
        # An objective with class means compares: clean images come first.
        self.class_means.add(logits[: len(labels)], labels)
        if args.attacks:
            figures["attack_success"] = (logits[-len(labels) :].argmax(1) != labels).float().mean()
        self.meters.add(figures, images=len(labels))
        return loss * share, outputs

    def restore_weights(self) -> None:
        """Bring perturbed weights back, bit for bit, when the step's backward pass is over."""
        if self.weight_perturbation is not None:
            self.weight_perturbation.restore()

    def _targets(self, batch: Batch, position: RunPosition) -> tuple[Tensor, dict[str, Tensor | float]]:
        if self._args.rectifies:
            return self.teacher.targets(batch, position)
        smoothing = self._args.label_smoothing_factor
        return smooth_labels(batch.labels, self._num_classes, smoothing=smoothing), {}

    def _perturb(self, loss_of: Callable[[Callable[..., Any]], Tensor], position: RunPosition) -> None:
        """Move the weights until the step's backward pass is over."""
        if self.weight_perturbation is None or position.epochs < self._args.weight_perturbation_warmup_epochs:
            return
        average, scale = mean_over_processes(self._accelerator), gradient_scale(self._accelerator)
        self.weight_perturbation.perturb(loss_of, average=average, scale=scale)
