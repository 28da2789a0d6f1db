"""Is a robust accuracy too good to be true? Checks for gradient masking and other ways in which attacks fail.

Carlini et al. 2019, *On Evaluating Adversarial Robustness* (arXiv 1902.06705), section 5; Athalye et al. 2018,
*Obfuscated Gradients Give a False Sense of Security* (arXiv 1802.00420), section 3.
"""

from adsr_hf.evaluation.sanity.checks import (
    FORWARDS_PER_IMAGE,
    GRADIENTS_PER_IMAGE,
    SANITY_IMAGES,
    passes_per_image,
    sanity_positions,
    square_is_known,
    verdicts,
)

__all__ = [
    "FORWARDS_PER_IMAGE",
    "GRADIENTS_PER_IMAGE",
    "SANITY_IMAGES",
    "passes_per_image",
    "sanity_positions",
    "square_is_known",
    "verdicts",
]
