"""Corruptions: in range, harder with severity, the image's own, and equal to independent code where there is some."""

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from adsr_hf.evaluation.corruptions import KINDS, corrupt, disk_kernel, line_kernel
from adsr_hf.evaluation.severities import SEVERITIES, severity_table

# The authors' third and fourth motion blur differ in a reach that their trail has faded long before; and a small image
# is shifted by whole pixels too.
EQUAL_TO_THE_ONE_BEFORE = {("motion_blur", 32): (3,), ("pixel_shift", 32): (4, 1)}


def pictures(count: int = 12, channels: int = 3, side: int = 48) -> torch.Tensor:
    """Smooth random images with an edge, on grey levels."""
    noise = np.random.default_rng(0).random((count, channels, side, side))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 4, 4)) * 4 - 1.5
    smooth[:, :, :, side // 2 :] += 0.3
    return torch.from_numpy((smooth.clip(0, 1) * 255).round() / 255).float()


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_in_range_and_harder_with_severity(kind: str, side: int) -> None:
    pixels = pictures(side=side)
    damage = []
    for severity in SEVERITIES:
        noisy = corrupt(pixels, kind=kind, severity=severity, indices=range(12), seed=0)
        assert noisy.shape == pixels.shape
        assert noisy.dtype == torch.float32
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        damage.append((noisy - pixels).square().mean().item())
    assert damage[0] > 0
    for level in EQUAL_TO_THE_ONE_BEFORE.get((kind, side), ()):
        assert damage.pop(level) == pytest.approx(damage[level - 1], rel=1e-5)
    assert all(later > earlier for earlier, later in itertools.pairwise(damage))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_corrupted_alike_in_any_batch(kind: str) -> None:
    pixels = pictures()
    together = corrupt(pixels, kind=kind, severity=3, indices=range(12), seed=5)
    order = [7, 2, 11]
    assert torch.equal(corrupt(pixels[order], kind=kind, severity=3, indices=order, seed=5), together[order])


@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "pixel_shift"])
def test_seed_and_index_key_the_noise(kind: str) -> None:
    same = pictures(1).expand(6, -1, -1, -1)
    noisy = corrupt(same, kind=kind, severity=4, indices=range(6), seed=0)
    assert len({tuple(image.flatten()[::50].tolist()) for image in noisy}) > 1
    assert not torch.equal(noisy, corrupt(same, kind=kind, severity=4, indices=range(6), seed=1))


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 8), (1, 64), (3, 96)])
def test_small_large_grey_and_colour(channels: int, side: int) -> None:
    pixels = pictures(2, channels, side)
    for kind in KINDS:
        assert corrupt(pixels, kind=kind, severity=5, indices=[0, 1], seed=0).shape == pixels.shape


def test_gaussian_noise_has_its_standard_deviation() -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    noisy = corrupt(grey, kind="gaussian_noise", severity=3, indices=range(4), seed=0)
    assert (noisy - grey).std().item() == pytest.approx(0.12, rel=0.02)


def test_shot_noise_has_poissons_variance() -> None:
    grey = torch.full((4, 3, 64, 64), 0.4)
    noisy = corrupt(grey, kind="shot_noise", severity=3, indices=range(4), seed=0)
    assert noisy.mean().item() == pytest.approx(0.4, abs=0.003)
    assert noisy.var().item() == pytest.approx(0.4 / 50, rel=0.05)


def test_impulses_are_black_and_white_and_as_many_as_they_should_be() -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    noisy = corrupt(grey, kind="impulse_noise", severity=5, indices=range(4), seed=0)
    assert set(noisy.unique().tolist()) == {0.0, 0.5, 1.0}
    assert (noisy != 0.5).float().mean().item() == pytest.approx(0.14, rel=0.1)


def test_brightness_and_contrast_by_hand() -> None:
    image = torch.tensor([0.2, 0.4, 0.9, 0.5]).reshape(1, 1, 2, 2)
    up = corrupt(image, kind="brightness_up", severity=4, indices=[0], seed=0)
    down = corrupt(image, kind="brightness_down", severity=5, indices=[0], seed=0)
    flat = corrupt(image, kind="contrast", severity=3, indices=[0], seed=0)
    torch.testing.assert_close(up.flatten(), torch.tensor([0.4, 0.6, 1.0, 0.7]))
    torch.testing.assert_close(down.flatten(), torch.tensor([0.0, 0.1, 0.6, 0.2]))
    torch.testing.assert_close(flat.flatten(), torch.tensor([0.38, 0.46, 0.66, 0.50]))


def test_jpeg_equals_pillow() -> None:
    pixels = pictures(1)
    buffer = io.BytesIO()
    Image.fromarray((pixels[0] * 255).byte().permute(1, 2, 0).numpy()).save(buffer, format="JPEG", quality=40)
    expected = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255
    assert torch.equal(corrupt(pixels, kind="jpeg", severity=4, indices=[0], seed=0)[0], expected)


def test_defocus_equals_scipys_convolution() -> None:
    pixels = pictures(1, side=96)
    blurred = corrupt(pixels, kind="defocus_blur", severity=5, indices=[0], seed=0)[0]
    kernel = disk_kernel(3 * 96 / 64).numpy().astype(np.float64)
    expected = [ndimage.correlate(channel, kernel, mode="nearest") for channel in pixels[0].double().numpy()]
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-5)


def test_kernels_sum_to_one_and_are_centred() -> None:
    for kernel in [disk_kernel(r) for r in (0.1, 1.0, 3.4)] + [line_kernel(n, a) for n in (0.4, 3, 9) for a in (0, 1)]:
        assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
        assert len(kernel) % 2 == 1
        steps = torch.arange(len(kernel)) - len(kernel) // 2
        assert abs((kernel.sum(0) * steps).sum().item()) < 1e-4
        assert abs((kernel.sum(1) * steps).sum().item()) < 1e-4
    horizontal = line_kernel(6, 0)
    assert (horizontal.sum(1) > 1e-6).sum() == 1


def test_a_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    pixels = pictures(1, side=40)
    shifted = corrupt(pixels, kind="pixel_shift", severity=5, indices=[3], seed=0)[0]
    candidates = []
    for down in (-4, 0, 4):
        for right in (-4, 0, 4):
            rows, columns = np.clip(np.arange(40) - down, 0, 39), np.clip(np.arange(40) - right, 0, 39)
            candidates.append(pixels[0][:, rows][:, :, columns])
    assert sum(torch.equal(shifted, one) for one in candidates) == 1


@pytest.mark.parametrize(
    ("shape", "name", "gaussian"),
    [
        ((8, 8), "CIFAR-10-C", 0.10),
        ((32, 32), "CIFAR-10-C", 0.10),
        ((45, 300), "CIFAR-10-C", 0.10),
        ((46, 46), "Tiny ImageNet-C", 0.18),
        ((400, 119), "Tiny ImageNet-C", 0.18),
        ((120, 120), "ImageNet-C", 0.38),
        ((224, 224), "ImageNet-C", 0.38),
        ((1024, 768), "ImageNet-C", 0.38),
    ],
)
def test_the_table_is_the_one_for_the_images_size(shape: tuple[int, int], name: str, gaussian: float) -> None:
    table = severity_table(*shape)
    assert (table.name, table.gaussian[4]) == (name, gaussian)


def test_a_photograph_is_hit_as_hard_as_in_imagenet_c() -> None:
    """Grey of 0.5: noise of standard deviation 0.38 is cut off at 1.3 of it, which leaves 0.3."""
    grey = torch.full((1, 3, 224, 224), 0.5)
    noisy = corrupt(grey, kind="gaussian_noise", severity=5, indices=[0], seed=0)
    drawn = np.clip(0.5 + 0.38 * np.random.default_rng(0).standard_normal(200_000), 0, 1)
    assert noisy.std().item() == pytest.approx(drawn.std(), rel=0.02)


def test_lengths_are_scaled_with_the_image() -> None:
    """An edge that is out of focus is as wide, as a share of the image, at twice the size."""
    widths = []
    for side in (224, 448):
        edge = torch.zeros(1, 1, side, side)
        edge[..., side // 2 :] = 1
        blurred = corrupt(edge, kind="defocus_blur", severity=5, indices=[0], seed=0)[0, 0, side // 2]
        widths.append(((blurred > 0.01) & (blurred < 0.99)).float().mean().item())
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[0] == pytest.approx(2 * 10 / 224, rel=0.15)


def test_an_even_line_blurs_as_far_as_the_authors_trail() -> None:
    """A half Gaussian that is not cut off has the variance σ²(1 − 2/π), a line of length l has l²/12."""
    table = severity_table(224, 224)
    half_gaussian = (12 * 5**2 * (1 - 2 / np.pi)) ** 0.5
    assert table.motion_length(1) == pytest.approx(half_gaussian, rel=0.05)
    lengths = [table.motion_length(level) for level in range(5)]
    assert lengths == sorted(lengths)


def test_wrong_arguments() -> None:
    pixels = pictures(2)
    with pytest.raises(ValueError, match="kind='fog' is unknown"):
        corrupt(pixels, kind="fog", severity=1, indices=[0, 1], seed=0)
    with pytest.raises(ValueError, match="severity=6"):
        corrupt(pixels, kind="jpeg", severity=6, indices=[0, 1], seed=0)
    with pytest.raises(ValueError, match="one index an image, got 1"):
        corrupt(pixels, kind="jpeg", severity=1, indices=[0], seed=0)
