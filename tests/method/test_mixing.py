import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adsr_hf.method.mixing import mix_batch
from adsr_hf.method.targets import rectify

SEEDS = st.integers(0, 2**32 - 1)


def batch(size: int, *, height: int = 6, width: int = 9, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand((size, 3, height, width), generator=random)
    return pixels, torch.rand((size, classes), generator=random).softmax(1)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def partners_of(size: int, seed: int, *, draws_before: int = 1) -> np.ndarray:
    """What mix_batch draws for these settings: a share, then an order."""
    random = generator(seed)
    for _ in range(draws_before):
        random.beta(0.7, 0.7)
    return random.permutation(size)


@given(seed=SEEDS, size=st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_mixup_equals_a_float64_computation(seed: int, size: int) -> None:
    pixels, targets = batch(size, seed=seed % 1000)
    mixed = mix_batch(pixels, targets, mixup=0.7, cutmix=0.0, generator=generator(seed))
    share = generator(seed).beta(0.7, 0.7)
    assert mixed.share == share
    partner = partners_of(size, seed)
    for found, own in ((mixed.pixels, pixels), (mixed.targets, targets)):
        exact = own.double().numpy()
        np.testing.assert_allclose(found.numpy(), share * exact + (1 - share) * exact[partner], atol=1e-6)


@given(seed=SEEDS, size=st.integers(1, 7), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_cutmix_takes_each_pixel_from_one_image_and_its_share_is_what_is_left(
    seed: int, size: int, height: int, width: int
) -> None:
    # Every image has one colour of its own, so that each pixel tells where it comes from.
    pixels = ((torch.arange(size) + 1) / 8)[:, None, None, None].expand(size, 3, height, width)
    targets = torch.eye(size)
    mixed = mix_batch(pixels, targets, mixup=0.0, cutmix=0.7, generator=generator(seed))
    partner = partners_of(size, seed)
    for row in range(size):
        own = mixed.pixels[row] == pixels[row, 0, 0, 0]
        other = mixed.pixels[row] == pixels[partner[row], 0, 0, 0]
        assert bool((own | other).all())
        if partner[row] == row:
            continue
        assert mixed.share == pytest.approx(own.float().mean().item(), abs=1e-6)
        # One box: its rows and columns, all of them and nothing else.
        box = ~own[0]
        assert int(box.sum()) == int(box.any(1).sum() * box.any(0).sum())
    exact = targets.double().numpy()
    expected = mixed.share * exact + (1 - mixed.share) * exact[partner]
    np.testing.assert_allclose(mixed.targets.numpy(), expected, atol=1e-6)


def test_an_uncut_box_covers_what_was_drawn() -> None:
    pixels, targets = batch(2, height=200, width=100)
    drawn, found = [], []
    for seed in range(200):
        mixed = mix_batch(pixels, targets, mixup=0.0, cutmix=1.0, generator=generator(seed))
        drawn.append(generator(seed).beta(1.0, 1.0))
        found.append(mixed.share)
    # The edge takes from a box and never adds: what is left is at least the share that was drawn.
    assert (np.array(found) >= np.array(drawn) - 1e-12).all()
    uncut = np.abs(np.array(found) - np.array(drawn)) < 0.02
    assert uncut.sum() > 10
    assert np.array(drawn)[uncut].mean() > np.mean(drawn)


@given(seed=SEEDS, alphas=st.tuples(st.floats(0, 4), st.floats(0.01, 4)).flatmap(st.permutations))
@settings(max_examples=60, deadline=None)
def test_pixels_stay_in_the_unit_interval_and_rows_sum_to_one(seed: int, alphas: list[float]) -> None:
    pixels, targets = batch(5, seed=1)
    pixels = pixels.round()  # only zeros and ones: any rounding error would leave the interval
    before = pixels.clone(), targets.clone()
    mixed = mix_batch(pixels, targets, mixup=alphas[0], cutmix=alphas[1], generator=generator(seed))
    assert mixed.pixels.min() >= 0
    assert mixed.pixels.max() <= 1
    assert 0 <= mixed.share <= 1
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(5), rtol=0, atol=1e-6)
    assert torch.equal(pixels, before[0])
    assert torch.equal(targets, before[1])
    assert (mixed.pixels.dtype, mixed.targets.dtype) == (pixels.dtype, targets.dtype)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_single_image_is_its_own_partner(kind: str) -> None:
    pixels, targets = batch(1)
    mixed = mix_batch(pixels, targets, **({"mixup": 0.0, "cutmix": 0.0} | {kind: 1.0}), generator=generator())
    torch.testing.assert_close(mixed.pixels, pixels)
    torch.testing.assert_close(mixed.targets, targets)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_their_beta_distribution(alpha: float) -> None:
    pixels, targets = batch(2, height=1, width=1)
    random = generator()
    shares = np.array(
        [mix_batch(pixels, targets, mixup=alpha, cutmix=0.0, generator=random).share for _ in range(3000)]
    )
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean() == pytest.approx(0.5, abs=4 * np.sqrt(variance / 3000))
    assert shares.var() == pytest.approx(variance, rel=0.12)


def test_both_on_means_each_about_every_second_batch() -> None:
    pixels, targets = batch(6)
    values = pixels.unique()
    random = generator()
    cut = [
        bool(torch.isin(mix_batch(pixels, targets, mixup=1.0, cutmix=1.0, generator=random).pixels, values).all())
        for _ in range(1000)
    ]
    assert 430 < sum(cut) < 570


def test_the_same_generator_state_gives_the_same_batch() -> None:
    pixels, targets = batch(5)
    random = generator(3)
    mix_batch(pixels, targets, mixup=0.8, cutmix=1.0, generator=random)
    state = random.bit_generator.state
    first = mix_batch(pixels, targets, mixup=0.8, cutmix=1.0, generator=random)
    random.bit_generator.state = state
    again = mix_batch(pixels, targets, mixup=0.8, cutmix=1.0, generator=random)
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.targets, again.targets)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.0, 0.0), (-0.1, 1.0), (1.0, -1.0)])
def test_alphas_that_mix_nothing_are_refused(mixup: float, cutmix: float) -> None:
    pixels, targets = batch(2)
    with pytest.raises(ValueError, match=rf"mixup={mixup:g} and cutmix={cutmix:g}"):
        mix_batch(pixels, targets, mixup=mixup, cutmix=cutmix, generator=generator())


def test_cross_entropy_against_mixed_rectified_targets_is_the_mixture_of_both() -> None:
    """What docs/training.md derives: the loss is linear in the target, so mixing may come after rectification."""
    pixels, _ = batch(6)
    random = torch.Generator().manual_seed(1)
    labels, teacher, student = torch.arange(6) % 4, *torch.randn((2, 6, 4), generator=random, dtype=torch.float64)
    targets = rectify(teacher, labels, temperature=2.0, interpolation=0.8).targets
    mixed = mix_batch(pixels, targets, mixup=1.0, cutmix=0.0, generator=generator(5))
    partner, share = generator(5), mixed.share
    partner.beta(1.0, 1.0)
    order = partner.permutation(6)
    log_probabilities = student.log_softmax(1)

    def loss(against: Tensor) -> Tensor:
        return -(against * log_probabilities).sum(1)

    torch.testing.assert_close(loss(mixed.targets), share * loss(targets) + (1 - share) * loss(targets[order]))
