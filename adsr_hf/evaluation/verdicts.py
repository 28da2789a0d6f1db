"""The outcome of one sanity check, and the rules by which samples of images decide it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from adsr_hf.records.sentences import Sentence

CheckOutcome = Literal["pass", "fail", "not applicable"]

RISES_WITH_EPSILON = "accuracy never rises with epsilon"
RISES_WITH_STEPS = "accuracy never rises with steps"
UNBOUNDED = "an unbounded attack reaches chance"
RANDOM_NOISE = "pgd beats random noise"
SQUARE = "square does not beat the white-box attacks"
ZERO_GRADIENT = "zero-gradient share"
DETERMINISTIC = "deterministic"
GRADIENT_BLOCKING = "free of gradient-blocking layers"
CONVERGED = "the loss has converged"
TRANSFER = "a transfer attack is weaker than white-box"

# In the order in which an evaluation lists them.
CHECKS: tuple[str, ...] = (
    RISES_WITH_EPSILON,
    RISES_WITH_STEPS,
    UNBOUNDED,
    RANDOM_NOISE,
    SQUARE,
    ZERO_GRADIENT,
    DETERMINISTIC,
    GRADIENT_BLOCKING,
    CONVERGED,
    TRANSFER,
)

# Chance that a check decided by counting images fails although its claim holds.
FAILURE_LEVEL = 0.01
# With fewer rightly classified images, checks that an honest model passes only by showing something (that PGD leads
# noise, that gradients are borne out) fail too often: in 0.10 at 7 images that PGD leads on 98.5% of, in 0.25 at one
# image where a quarter of an honest network's slopes bend.
FEWEST_IMAGES = 20


@dataclass(frozen=True)
class SanityCheck:
    """One sanity check.

    Attributes:
        name: of the check, one of :data:`CHECKS`.
        outcome: ``"pass"``, ``"fail"`` or ``"not applicable"``.
        figures: what was measured; ``images`` says on how many.
        words: one plain sentence, for :func:`adsr_hf.records.sentences.worded`.
    """

    name: str
    outcome: CheckOutcome
    figures: dict[str, float]
    words: Sentence

    def as_dict(self) -> dict[str, Any]:
        """JSON values, as in the ``sanity`` list of a summary."""
        return asdict(self)


def exceeds(count: int, total: int, share: float, level: float = FAILURE_LEVEL) -> bool:
    """Whether ``count`` of ``total`` images are more than a true share of ``share`` explains, at this level.

    With ``share=0.5`` and counts of the images on which two attacks differ, this is McNemar's exact test, one-sided.
    No images show nothing.
    """
    from scipy.stats import binomtest

    return total > 0 and float(binomtest(count, total, share, alternative="greater").pvalue) < level
