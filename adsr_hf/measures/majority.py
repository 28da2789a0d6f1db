"""What a model that always names the most frequent class would reach, said where nothing shows more."""

from collections.abc import Sequence

from adsr_hf.records.text_tables import quoted

_CLEAN = "clean"


def majority_warning(class_name: str, share: float, conditions: Sequence[str], *, of: str = "") -> str:
    """What is said where nothing shows that a model is better than its most frequent class.

    Args:
        share: of the images, in [0, 1].
        conditions: under which it is not, ``"clean"`` or a threat or another name for one; at least one.
        of: whose accuracy it is, where there are several.
    """
    where = " and ".join("without attack" if condition == _CLEAN else f"under {condition}" for condition in conditions)
    name, percent = quoted(class_name), f"{100 * share:.1f}%"
    whose = f"the accuracy of {of}" if of else "the accuracy"
    return (
        f"warning: {where} {whose} is not shown to be above {percent}, the share of the most frequent class {name}; "
        f"a model that always says {name} reaches that, whatever the attack"
    )
