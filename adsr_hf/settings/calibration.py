"""Whether and on what a published checkpoint is calibrated: fields of ADSRConfig. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from adsr_hf.settings.checks import in_range, one_of
from adsr_hf.settings.setting import setting

CALIBRATIONS = ("none", "clean", "adversarial", "mixed")


@dataclass
class CalibrationArguments:
    """Calibrated publishing: one temperature, folded into the classification head.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    calibrate: Literal["none", "clean", "adversarial", "mixed"] = setting(
        "none",
        "Fit one temperature on the validation images and fold it into the published weights' head (Guo "
        "et al. 2017, arXiv 1706.04599, section 4.2): predictions and inference cost stay, confidence changes. On "
        "'clean' images, on 'adversarial' ones (the worst that the evaluation attack finds; an image that is "
        "wrong already counts as it is) or on both, 'mixed'. adsr train does it after training; with ADSRTrainer "
        "call trainer.calibrate() before you save.",
    )
    calibrate_adversarial_share: float = setting(
        0.5, "With calibrate='mixed': weight of the adversarial images' loss, in (0, 1); clean ones have the rest."
    )

    @property
    def calibration_share(self) -> float:
        """Weight of the adversarial images' loss in the fit, in [0, 1]."""
        return {"adversarial": 1.0, "mixed": self.calibrate_adversarial_share}.get(self.calibrate, 0.0)

    def check_calibration(self, *, epsilon: float, eval_attack_steps: int) -> None:
        """Check every field of this class.

        Args:
            epsilon: radius of the evaluation attack.
            eval_attack_steps: its number of steps; 0 = there is none.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        one_of("calibrate", self.calibrate, CALIBRATIONS)
        share = self.calibrate_adversarial_share
        fix = "it is the weight of the adversarial images' loss with calibrate='mixed'"
        in_range("calibrate_adversarial_share", share, low=0, high=1, fix=fix)
        if self.calibrate == "mixed" and share in (0, 1):
            raise ValueError(
                f"calibrate_adversarial_share={share:g} with calibrate='mixed' mixes nothing and must lie in (0, 1); "
                f"use calibrate={'adversarial' if share else 'clean'!r}"
            )
        if self.calibrate not in ("adversarial", "mixed"):
            return
        if epsilon <= 0:
            raise ValueError(
                f"calibrate={self.calibrate!r} needs attacked images, but epsilon={epsilon:g} allows no change; set a "
                "radius such as 8/255, or calibrate='clean'"
            )
        if eval_attack_steps < 1:
            raise ValueError(
                f"calibrate={self.calibrate!r} needs the evaluation attack, but eval_attack_steps={eval_attack_steps} "
                "switches it off; set it to 10 or more, or calibrate='clean'"
            )
