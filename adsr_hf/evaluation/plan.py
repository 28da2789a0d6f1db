"""What an evaluation is asked to do. Checked once, here."""

from collections.abc import Sequence
from dataclasses import dataclass

from adsr_hf.attacks import ThreatModel


@dataclass(frozen=True)
class Plan:
    """Threats, attacks and their strength.

    Args:
        threats: threat models of radius above 0, each once; none measures clean images alone.
        attacks: names, see :func:`adsr_hf.attacks.registry.named_attacks`.
        num_steps, restarts: of ``"pgd"`` and ``"margin"``.
        square_queries: of ``"square"``.
        batch_size: images attacked together, rounded up to a multiple of 64. No figure depends on it, and memory
            hardly on anything else.
        seed: of every random number.
        stability: measure stability under noise too.
        sanity: check that the robust accuracy can be believed.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.

    Example:
        >>> from adsr_hf.attacks import ThreatModel
        >>> plan = Plan([ThreatModel.parse("Linf 4/255")], attacks=["pgd"], num_steps=10)
        >>> [str(threat) for threat in plan.threats]
        ['Linf 4/255']
    """

    threats: Sequence[ThreatModel]
    attacks: Sequence[str] = ("pgd",)
    num_steps: int = 20
    restarts: int = 1
    square_queries: int = 5000
    batch_size: int = 128
    seed: int = 0
    stability: bool = False
    sanity: bool = False

    def __post_init__(self) -> None:
        for threat in self.threats:
            if threat.epsilon == 0:
                raise ValueError(
                    f"threat '{threat}' has radius 0, which is the clean accuracy that is measured anyway; leave it "
                    "out, or give a radius above 0"
                )
        names = [str(threat) for threat in self.threats]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"threats {', '.join(twice)} are given twice; give each once")
        for name in ("num_steps", "restarts", "square_queries", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")
        if self.sanity and not self.threats:
            raise ValueError("sanity=True needs a threat model to be sane about; give one, such as 'Linf 8/255'")
