"""Names of figures, put together and taken apart in one place: a class's name may hold any character, "/" too."""

from collections.abc import Sequence

from adsr_hf.settings.radius import NORMS

CLEAN = "clean"
EXPECTED_ROBUSTNESS = "expected_robustness"
# Of each norm that threats can have.
EXPECTED_ROBUSTNESS_FIGURES = tuple(f"{norm}/{EXPECTED_ROBUSTNESS}" for norm in NORMS)

_CLASS_FIGURE = "class_accuracy/"
_CLASS_FIGURE_UNDER_ATTACK = "/class_robust_accuracy/"


def attacked_name(name: str, condition: str) -> str:
    """The name of a clean figure (``"ece"``) under a condition: ``"ece"`` itself, or ``"{threat}/robust_ece"``.

    Args:
        condition: ``"clean"`` or a threat as text.
    """
    return name if condition == CLEAN else f"{condition}/robust_{name}"


def class_figure(class_name: str, condition: str) -> str:
    """``"class_accuracy/{class}"`` or ``"{threat}/class_robust_accuracy/{class}"``.

    Args:
        condition: ``"clean"`` or a threat as text.
    """
    prefix = _CLASS_FIGURE if condition == CLEAN else f"{condition}{_CLASS_FIGURE_UNDER_ATTACK}"
    return f"{prefix}{class_name}"


def read_class_figure(name: str, threats: Sequence[str]) -> tuple[str, str] | None:
    """Condition (``"clean"`` or a threat) and class of a name that :func:`class_figure` made, else None."""
    for condition in (CLEAN, *threats):
        prefix = class_figure("", condition)
        if name.startswith(prefix):
            return condition, name.removeprefix(prefix)
    return None


def is_class_accuracy(name: str) -> bool:
    """Whether a name, or a pattern of names, is that of one class's accuracy, clean or under attack."""
    return f"{figure_kind(name)}/" in (_CLASS_FIGURE, _CLASS_FIGURE_UNDER_ATTACK.removeprefix("/"))


def figure_kind(name: str) -> str:
    """What a figure measures, without threat, attack, noise or class: ``"robust_ece"``, ``"class_accuracy"``.

    The last part of the name, but where a class is named, whose name may look like anything.
    """
    if name.startswith(_CLASS_FIGURE):
        return _CLASS_FIGURE.strip("/")
    if _CLASS_FIGURE_UNDER_ATTACK in name:
        return _CLASS_FIGURE_UNDER_ATTACK.strip("/")
    return name.rpartition("/")[2]
