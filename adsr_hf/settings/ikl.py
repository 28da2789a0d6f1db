"""Weights of the IKL objective. Imports nothing heavy."""

from dataclasses import dataclass

from adsr_hf.settings.checks import in_range, is_finite
from adsr_hf.settings.setting import setting


@dataclass
class IKLArguments:
    """The improved Kullback-Leibler divergence of Cui et al. (NeurIPS 2024); :mod:`adsr_hf.method.ikl` derives it.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    ikl_alpha: float = setting(
        20.0,
        "Weight alpha of IKL's squared differences between clean and attacked logits, a quarter of which counts (20 "
        "for CIFAR-10 and CIFAR-100; the authors' script calls it beta).",
    )
    ikl_beta: float = setting(
        4.0,
        "Weight beta of IKL's cross-entropy of the attacked output against the clean one (4 for CIFAR-10, 4 or 5 for "
        "CIFAR-100; the authors' script calls it alpha).",
    )
    ikl_temperature: float = setting(
        4.0,
        "Softmax temperature of the predictions whose mean over a class weighs IKL's squared differences (4 in the "
        "authors' scripts); the higher, the more evenly classes weigh. No other part of the loss is tempered.",
    )

    def check_ikl(self, *, objective: str, mixup: float, cutmix: float) -> None:
        """Check every field of this class.

        Args:
            objective: the run's.
            mixup, cutmix: the run's; IKL needs one true class for each image.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        in_range("ikl_alpha", self.ikl_alpha, low=0, fix="20 is the authors' value for CIFAR")
        in_range("ikl_beta", self.ikl_beta, low=0, fix="4 is the authors' value for CIFAR-10")
        if not (is_finite(self.ikl_temperature) and self.ikl_temperature > 0):
            raise ValueError(
                f"ikl_temperature={self.ikl_temperature!r} must be a positive number; 4 is the authors' value, and 1 "
                "leaves the softmax as it is"
            )
        if objective == "ikl" and (mixup > 0 or cutmix > 0):
            raise ValueError(
                f"mixup={mixup:g}, cutmix={cutmix:g} do not go with objective='ikl', which is undefined for mixed "
                "images: it weighs by the mean prediction of an image's one true class; set both to 0, or use "
                "objective='trades'"
            )
