"""What keeps a run from overfitting beside its labels: perturbed weights and mixed images. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from adsr_hf.settings.checks import in_range, is_finite, one_of
from adsr_hf.settings.setting import setting


@dataclass
class RegularizationArguments:
    """Adversarial weight perturbation, mixup and cutmix.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    weight_perturbation: Literal["none", "awp", "layerwise_sam"] = setting(
        "none",
        "Take each step's gradient at weights moved against it: 'awp' (Wu et al. 2020, arXiv 2004.05884: tensors "
        "of two or more dimensions) or 'layerwise_sam' (what the ADR authors' code calls AWP: every tensor, "
        "biases and normalisation included). Both move a tensor by weight_perturbation_radius times its norm.",
    )
    weight_perturbation_radius: float = setting(
        0.005,
        "Relative size of the weights' perturbation: gamma of AWP, rho of the ADR authors (0.005 on CIFAR, 0.001 "
        "on TinyImageNet).",
    )
    weight_perturbation_warmup_epochs: float = setting(
        0.0, "Epochs before weights are perturbed; a model at chance gains nothing from it."
    )
    mixup: float = setting(
        0.0,
        "Alpha of mixup's Beta distribution (Zhang et al. 2018); 0 = off, 0.8 is usual for long transformer runs. "
        "Images and their labels, rectified ones too, are mixed before the attack.",
    )
    cutmix: float = setting(
        0.0,
        "Alpha of cutmix's Beta distribution (Yun et al. 2019); 0 = off, 1.0 is usual. With mixup too, each batch "
        "draws one of the two.",
    )

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def check_regularization(self, *, objective: str) -> None:
        """Check every field of this class.

        Args:
            objective: the run's; MART needs one true class for each image.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        one_of("weight_perturbation", self.weight_perturbation, ("none", "awp", "layerwise_sam"))
        if not (is_finite(self.weight_perturbation_radius) and 0 < self.weight_perturbation_radius < 1):
            raise ValueError(
                f"weight_perturbation_radius={self.weight_perturbation_radius!r} must lie in (0, 1), relative to the "
                "weights; 0.005 is the paper's value, and weight_perturbation='none' leaves it out"
            )
        name = "weight_perturbation_warmup_epochs"
        in_range(name, getattr(self, name), low=0, fix="0 perturbs from the first step")
        in_range("mixup", self.mixup, low=0, fix="0 leaves it out, 0.8 is usual")
        in_range("cutmix", self.cutmix, low=0, fix="0 leaves it out, 1.0 is usual")
        if self.mixes and objective == "mart":
            raise ValueError(
                f"mixup={self.mixup:g}, cutmix={self.cutmix:g} do not go with objective='mart', whose margin needs "
                "one true class for each image; set both to 0, or use objective='trades'"
            )

    def check_warmup_fits(self, *, epochs: float, run: str) -> None:
        """Refuse a warm-up of the perturbation that is as long as the run.

        Args:
            epochs: length of the run.
            run: the same for the message, such as ``"num_train_epochs=3"``.

        Raises:
            ValueError: since weights would never be perturbed.
        """
        if self.weight_perturbation != "none" and self.weight_perturbation_warmup_epochs >= epochs:
            raise ValueError(
                f"weight_perturbation_warmup_epochs={self.weight_perturbation_warmup_epochs:g} is as long as the run "
                f"({run}), so weights would never be perturbed; shorten it, or train longer"
            )
