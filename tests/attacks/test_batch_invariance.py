"""Blocks: whole ones, and a smaller last one exactly where it gives the same bits."""

import pytest
import torch
from torch import Tensor

from adsr_hf.attacks.batch_invariance import FEWEST_ROWS, ROWS, row_independent

WEIGHTS = torch.linspace(-1, 1, 12).reshape(4, 3)


class Network:
    """Row by row; ``careless`` lets the number of rows into the result, as some kernels' rounding does."""

    def __init__(self, careless: str = "") -> None:
        self.careless = careless
        self.seen: list[int] = []

    def __call__(self, pixels: Tensor) -> Tensor:
        self.seen.append(len(pixels))
        logits = (pixels.flatten(1)[:, :, None] * WEIGHTS).sum(1)
        rounding = 1e-7 * len(pixels)
        if self.careless == "logits":
            return logits + rounding
        if self.careless == "gradient":
            return logits + (logits - logits.detach()) * rounding
        return logits


def images(number: int) -> Tensor:
    return torch.rand(number, 1, 2, 2, generator=torch.Generator().manual_seed(number))


@pytest.mark.parametrize("number", [1, 7, 8, ROWS, ROWS + 1, 2 * ROWS + 9])
def test_a_last_block_is_small_where_that_changes_nothing(number: int) -> None:
    network = Network()
    found = row_independent(network)(images(number))
    assert torch.equal(found, Network()(images(number)))
    rest = number % ROWS
    last = ROWS if rest == 0 else -(-rest // FEWEST_ROWS) * FEWEST_ROWS
    assert network.seen[: number // ROWS] == [ROWS] * (number // ROWS)
    assert network.seen[-1] == last


@pytest.mark.parametrize("careless", ["logits", "gradient"])
def test_a_last_block_is_filled_where_size_shows(careless: str) -> None:
    network = Network(careless)
    function = row_independent(network)
    leaf = images(ROWS + 9).requires_grad_()
    logits = function(leaf)
    assert network.seen[-1] == ROWS
    (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    for part in (slice(0, 5), slice(50, ROWS + 9)):
        own = leaf.detach()[part].clone().requires_grad_()
        part_logits = function(own)
        (part_gradient,) = torch.autograd.grad(part_logits.sum(), own)
        assert torch.equal(part_logits, logits[part])
        assert torch.equal(part_gradient, gradient[part])


def test_each_size_is_tried_once() -> None:
    network = Network()
    function = row_independent(network)
    for _ in range(3):
        function(images(9))
    # The trial: 64 and 16 rows, with and without a graph; then three calls.
    assert sorted(network.seen) == [16, 16, 16, 16, 16, ROWS, ROWS]


def test_a_function_without_a_gradient_can_be_evaluated() -> None:
    def blocked(pixels: Tensor) -> Tensor:
        return (pixels.detach().flatten(1)[:, :, None] * WEIGHTS).sum(1)

    assert torch.equal(row_independent(blocked)(images(9)), blocked(images(9)))
