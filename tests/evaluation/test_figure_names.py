"""Names of figures: whatever a class is called, its figure is found again and taken for no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.decision.deltas import higher_is_better
from adsr_hf.evaluation.figure_names import CLEAN, attacked_name, class_figure, figure_kind, read_class_figure

THREATS = ("Linf 4/255", "L2 0.5", "Linf 4")
NAMES = st.text(min_size=1) | st.sampled_from(
    ["a/b", "robust_accuracy", "ece", "x/flip_rate", "Linf 4/255/class_robust_accuracy/a", "class_accuracy/a", "/"]
)


@given(NAMES, st.sampled_from([CLEAN, *THREATS]))
def test_a_class_is_found_again_under_any_name(name: str, condition: str) -> None:
    figure = class_figure(name, condition)
    assert read_class_figure(figure, THREATS) == (condition, name)
    assert figure_kind(figure) == ("class_accuracy" if condition == CLEAN else "class_robust_accuracy")
    assert higher_is_better(figure)


@pytest.mark.parametrize(
    "name",
    ["accuracy", "Linf 4/255/robust_accuracy", "Linf 4/255/pgd/robust_accuracy", "noise/fog/3/accuracy", "ece"],
)
def test_other_figures_are_of_no_class(name: str) -> None:
    assert read_class_figure(name, THREATS) is None
    assert figure_kind(name) == name.split("/")[-1]


@pytest.mark.parametrize("figure", ["ece", "missed_rate", "false_alarm_rate", "brier_score"])
def test_an_error_is_one_under_attack_too(figure: str) -> None:
    assert attacked_name(figure, CLEAN) == figure
    assert attacked_name(figure, "L2 0.5") == f"L2 0.5/robust_{figure}"
    assert not higher_is_better(attacked_name(figure, CLEAN))
    assert not higher_is_better(attacked_name(figure, "L2 0.5"))
