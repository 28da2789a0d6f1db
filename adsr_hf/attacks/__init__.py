"""Attacks in [0, 1] pixel space."""

from adsr_hf.attacks.apgd import AutoPGD
from adsr_hf.attacks.losses import ATTACK_LOSSES
from adsr_hf.attacks.pgd import PGD, AttackResult
from adsr_hf.attacks.threat import ThreatModel
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.settings.radius import NORMS

__all__ = ["ATTACK_LOSSES", "NORMS", "PGD", "AttackResult", "AutoPGD", "PixelSpace", "ThreatModel"]
