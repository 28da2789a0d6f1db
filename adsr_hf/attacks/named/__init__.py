"""Attacks by name, as an evaluation runs them: every image's outcome is its own, whatever its batch."""

from adsr_hf.attacks.named.interface import NamedAttack, image_generators
from adsr_hf.attacks.named.registry import named_attacks

__all__ = ["NamedAttack", "image_generators", "named_attacks"]
