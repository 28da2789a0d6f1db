"""From names to attacks."""

import difflib
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from adsr_hf.attacks.evaluation_pgd import ProjectedGradient
from adsr_hf.attacks.interface import NamedAttack
from adsr_hf.attacks.names import ATTACK_NAMES, AUTOATTACK, AUTOATTACK_MEMBERS, NEED_AUTOATTACK_PACKAGE


def named_attacks(
    names: Sequence[str],
    *,
    num_classes: int,
    num_steps: int = 20,
    restarts: int = 1,
    square_queries: int = 5000,
) -> list[NamedAttack]:
    """The attacks of these names, in order, each once; ``"autoattack"`` stands for its four standard members.

    Args:
        names: of :data:`adsr_hf.attacks.names.ATTACK_NAMES`, or ``"autoattack"``.
        num_classes: of the model, at least 2. Targeted attacks take min(9, K − 1) targets; with fewer than four
            classes ``"apgd-t"`` maximises the targeted margin, since its DLR loss does not exist.
        num_steps, restarts: of ``"pgd"`` and ``"margin"``; restarts of ``"apgd-ce"`` and ``"apgd-dlr"`` stay 1.
        square_queries: of ``"square"``.

    Raises:
        ValueError: for an unknown name (with the nearest valid one), no name, or an attack that needs more classes.
        ImportError: when an attack needs pyautoattack and it is not installed.
    """
    wanted = _expanded(names)
    needing = [name for name in wanted if name in NEED_AUTOATTACK_PACKAGE]
    if needing and find_spec("pyautoattack") is None:
        raise ImportError(
            f"attacks {', '.join(needing)} need pyautoattack, which is not installed; install it with "
            "pip install 'adsr_hf[autoattack]', or choose among pgd and margin"
        )
    if "apgd-dlr" in wanted and num_classes < 3:
        raise ValueError(
            f"attack 'apgd-dlr' needs 3 classes, since its loss divides by the third highest logit; the model has "
            f"{num_classes}. Use apgd-t, which then maximises the margin, or autoattack"
        )

    def autopgd(name: str, loss: str) -> NamedAttack:
        from adsr_hf.attacks.autoattack.apgd import UntargetedAutoPGD

        return UntargetedAutoPGD(name, loss=loss, restarts=1)

    def targeted(name: str) -> NamedAttack:
        from adsr_hf.attacks.autoattack.apgd import TargetedAutoPGD

        return TargetedAutoPGD(name, num_classes=num_classes)

    def boundary(name: str) -> NamedAttack:
        from adsr_hf.attacks.autoattack.fab import TargetedBoundary

        return TargetedBoundary(name, num_classes=num_classes)

    def square(name: str) -> NamedAttack:
        from adsr_hf.attacks.autoattack.square import RandomSquares

        return RandomSquares(name, num_queries=square_queries)

    def gradient(name: str, loss: str) -> NamedAttack:
        return ProjectedGradient(name, loss=loss, num_steps=num_steps, restarts=restarts)

    makers: dict[str, Callable[[str], NamedAttack]] = {
        "pgd": lambda name: gradient(name, "cross_entropy"),
        "margin": lambda name: gradient(name, "margin"),
        "apgd-ce": lambda name: autopgd(name, "ce"),
        "apgd-dlr": lambda name: autopgd(name, "dlr"),
        "apgd-t": targeted,
        "fab-t": boundary,
        "square": square,
    }
    return [makers[name](name) for name in wanted]


def _expanded(names: Sequence[str]) -> list[str]:
    if not names:
        raise ValueError("attacks is empty; name at least one, such as pgd or autoattack")
    wanted: list[str] = []
    for name in names:
        if name != AUTOATTACK and name not in ATTACK_NAMES:
            near = difflib.get_close_matches(name, (*ATTACK_NAMES, AUTOATTACK), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"attacks={name!r} is unknown; {hint}choose among {', '.join((*ATTACK_NAMES, AUTOATTACK))}"
            )
        wanted.extend(AUTOATTACK_MEMBERS if name == AUTOATTACK else (name,))
    return list(dict.fromkeys(wanted))
