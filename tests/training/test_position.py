"""Where a run stands, over loaders with and without a length."""

from adsr_hf.training.position import RunPosition


def test_epochs_are_counted_in_optimizer_steps() -> None:
    found = RunPosition.find(6, loader=[None] * 7, gradient_accumulation_steps=2, schedule_steps=40)
    assert (found.steps_per_epoch, found.epochs, found.has_epochs) == (4, 1.5, True)


def test_without_a_length_the_run_is_one_epoch() -> None:
    for loader in (None, iter([])):
        found = RunPosition.find(10, loader=loader, gradient_accumulation_steps=2, schedule_steps=40)
        assert (found.steps_per_epoch, found.epochs, found.has_epochs) == (40, 0.25, False)
