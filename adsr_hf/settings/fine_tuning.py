"""How the layers of a pretrained network learn: the fields of ADSRConfig for it. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from adsr_hf.settings.checks import is_finite
from adsr_hf.settings.setting import setting


@dataclass
class FineTuningArguments:
    """A preset, and learning rates by depth.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    preset: Literal["fine_tune"] | None = setting(
        None,
        "Settings that go together, under one name; what is written beside it wins. 'fine_tune' is for a pretrained "
        "network that is not robust: clean images first and a radius that rises later, TRADES with a small beta, "
        "learning rates by depth, warm-up, clipped gradients, a teacher whose memory follows the run's length, and "
        "calibrated publishing. run.json holds what became of every field.",
    )
    layer_decay: float = setting(
        1.0,
        "Layer-wise learning-rate decay, in (0, 1] (BEiT, Bao et al. 2021, arXiv 2106.08254): the head "
        "learns at learning_rate, the last block at layer_decay times that, each earlier one at layer_decay times "
        "the rate of the next, the embeddings at the lowest. Usual for ViT-B: 0.65 to 0.75. 1 = the same rate "
        "everywhere.",
    )

    def check_fine_tuning(self) -> None:
        """Check every field of this class.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        if not is_finite(self.layer_decay) or not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"layer_decay={self.layer_decay!r} must lie in (0, 1]; 0.75 is usual for fine-tuning a ViT-B, 1 gives "
                "every layer the same learning rate. To train the head alone, use freeze"
            )
