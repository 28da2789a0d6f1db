"""Learning rates that drop in steps or by depth, on optimizers of torch's own."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.training.optimization import dropping_schedule, split_by_depth, weight_perturbation_for
from tests.tiny import tiny_config, tiny_vit


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=3, unique=True), st.integers(20, 60))
def test_it_is_divided_by_ten_at_each_drop(drops: list[float], steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = dropping_schedule(optimizer, sorted(drops), steps=steps)
    for step in range(steps):
        passed = sum(round(drop * steps) <= step for drop in drops)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1**passed)
        optimizer.step()
        schedule.step()


def test_groups_are_split_by_depth_once() -> None:
    model = tiny_vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    split_by_depth(optimizer, model, 1.0, given=False)
    assert len(optimizer.param_groups) == 1
    split_by_depth(optimizer, model, 0.5, given=False)
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    assert rates == pytest.approx([0.125, 0.25, 0.5, 1.0])
    before = list(optimizer.param_groups)
    split_by_depth(optimizer, model, 0.5, given=True)
    assert optimizer.param_groups == before


def test_an_optimizer_of_the_users_own_is_refused() -> None:
    model = tiny_vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match=r"layer_decay=0\.5 does not go with an optimizer of your own"):
        split_by_depth(optimizer, model, 0.5, given=True)


def test_weights_are_perturbed_as_the_settings_say(tmp_path: Path) -> None:
    model = tiny_vit()
    assert weight_perturbation_for(tiny_config(tmp_path), model) is None
    awp = weight_perturbation_for(tiny_config(tmp_path, weight_perturbation="awp"), model)
    sam = weight_perturbation_for(tiny_config(tmp_path, weight_perturbation="layerwise_sam"), model)
    assert awp is not None
    assert sam is not None
    assert {tensor.ndim for tensor in awp.tensors} >= {2}
    assert 1 not in {tensor.ndim for tensor in awp.tensors}
    assert len(sam.tensors) == len(list(model.parameters()))
