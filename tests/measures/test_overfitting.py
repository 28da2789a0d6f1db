from adsr_hf.measures.overfitting import robust_overfitting

HISTORY = [
    {"loss": 1.0, "step": 5},
    {"eval_robust_accuracy": 0.30, "step": 10},
    {"eval_robust_accuracy": 0.50, "eval_teacher_robust_accuracy": 0.4, "step": 20},
    {"eval_robust_accuracy": 0.50, "step": 30},
    {"eval_robust_accuracy": 0.42, "step": 40},
]


def test_best_is_the_earliest_maximum_and_gap_is_best_minus_last():
    result = robust_overfitting(HISTORY, "eval_robust_accuracy")
    assert result == {"best": 0.5, "best_step": 20, "last": 0.42, "last_step": 40, "gap": 0.5 - 0.42}


def test_a_run_that_ends_at_its_best_has_no_gap():
    assert robust_overfitting(HISTORY[:3], "eval_robust_accuracy")["gap"] == 0.0


def test_a_figure_that_was_never_measured_has_no_overfitting():
    assert robust_overfitting(HISTORY, "eval_accuracy") is None
