"""The affine map between a processor's output and pixels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BitImageProcessor, ConvNextImageProcessor, ViTImageProcessor

from adsr_hf.attacks import PixelSpace

IMAGENET = PixelSpace(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def eight_bit(channels: int = 3) -> np.ndarray:
    """(H, W, C) uint8, with black and white in every channel."""
    image = np.random.default_rng(0).integers(0, 256, (16, 12, channels), dtype=np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    return image


def as_pixels(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 255


def processed(processor: Any, image: np.ndarray) -> torch.Tensor:
    return processor(image, return_tensors="pt", input_data_format="channels_last")["pixel_values"]


def as_is(processor_class: type, **settings: Any) -> Any:
    """A processor that neither resizes nor crops, so that its values belong to known pixels."""
    if processor_class is not ViTImageProcessor:
        settings["do_center_crop"] = False
    return processor_class(do_resize=False, **settings)


class TestAffineMap:
    @settings(deadline=None)
    @given(
        mean=st.floats(-1, 1),
        std=st.floats(0.05, 4),
        scale=st.sampled_from([1.0, 2.0, 255.0]),
        value=st.floats(0, 1, width=32),
    )
    def test_round_trip(self, mean: float, std: float, scale: float, value: float) -> None:
        space = PixelSpace(mean=(mean, 0.0), std=(std, 1.0), scale=scale)
        pixels = torch.full((1, 2, 1, 1), value)
        torch.testing.assert_close(space.to_pixels(space.to_pixel_values(pixels)), pixels, rtol=0, atol=1e-6)

    def test_channels_have_their_own_numbers(self) -> None:
        values = IMAGENET.to_pixel_values(torch.ones(1, 3, 1, 1)).flatten()
        expected = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
        torch.testing.assert_close(values, expected)

    def test_gradient_passes_through(self) -> None:
        pixels = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
        (gradient,) = torch.autograd.grad(IMAGENET.to_pixel_values(pixels).sum(), pixels)
        torch.testing.assert_close(gradient[0, :, 0, 0], 1 / torch.tensor(IMAGENET.std))

    def test_single_number_serves_any_channel_count(self) -> None:
        space = PixelSpace(mean=(0.5,), std=(0.25,))
        for channels in (1, 3, 5):
            pixels = torch.rand(2, channels, 4, 4)
            torch.testing.assert_close(space.to_pixel_values(pixels), (pixels - 0.5) / 0.25)
            torch.testing.assert_close(space.recover((pixels - 0.5) / 0.25), pixels)

    @pytest.mark.parametrize(("mean", "std"), [((), ()), ((0.5,), ()), ((0.5, 0.5), (0.5, 0.5, 0.5))])
    def test_lengths_must_fit(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="one number for each channel"):
            PixelSpace(mean=mean, std=std)

    @pytest.mark.parametrize(
        ("std", "scale"), [(0.0, 1.0), (-0.5, 1.0), (float("nan"), 1.0), (0.5, 0.0), (0.5, -1.0), (0.5, float("nan"))]
    )
    def test_std_and_scale_must_be_positive(self, std: float, scale: float) -> None:
        with pytest.raises(ValueError, match="must be positive"):
            PixelSpace(mean=(0.5,), std=(std,), scale=scale)


class TestFromProcessor:
    @pytest.mark.parametrize("processor_class", [ViTImageProcessor, BitImageProcessor, ConvNextImageProcessor])
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
            {"do_normalize": False},
            {"do_normalize": None},
            {"do_rescale": False},
            {"do_rescale": None},
            {"do_rescale": False, "do_normalize": False},
            {"rescale_factor": 1 / 127.5},
            {"image_mean": 0.5, "image_std": 0.25},
            {"image_mean": 0.5, "image_std": [0.1, 0.2, 0.3]},
        ],
        ids=str,
    )
    def test_equals_the_processor(self, processor_class: type, settings: dict[str, Any]) -> None:
        processor, image = as_is(processor_class, **settings), eight_bit()
        values, space = processed(processor, image), PixelSpace.from_processor(processor)
        torch.testing.assert_close(
            space.to_pixel_values(as_pixels(image)), values.float(), rtol=1e-6 if space.scale == 255 else 0, atol=1e-5
        )
        torch.testing.assert_close(space.recover(values), as_pixels(image), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        "settings",
        [
            {"image_mean": [0.5], "image_std": [0.25]},
            {"image_mean": 0.5, "image_std": 0.25},
            {"do_normalize": False},
        ],
        ids=str,
    )
    def test_greyscale(self, settings: dict[str, Any]) -> None:
        processor, image = as_is(ViTImageProcessor, **settings), eight_bit(channels=1)
        values, space = processed(processor, image), PixelSpace.from_processor(processor)
        assert values.shape[1] == 1
        torch.testing.assert_close(space.to_pixel_values(as_pixels(image)), values, rtol=0, atol=1e-5)
        torch.testing.assert_close(space.recover(values), as_pixels(image), rtol=0, atol=1e-6)

    def test_object_that_is_no_image_processor(self) -> None:
        with pytest.raises(ValueError, match="processing_class=SimpleNamespace is not an image processor"):
            PixelSpace.from_processor(SimpleNamespace(vocab_size=10))


class TestRecover:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
    def test_rounded_black_and_white_are_accepted(self, dtype: torch.dtype) -> None:
        pixels = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
        recovered = IMAGENET.recover(IMAGENET.to_pixel_values(pixels).to(dtype))
        assert recovered.dtype == torch.float32
        assert recovered.min() >= 0
        assert recovered.max() <= 1
        torch.testing.assert_close(recovered, pixels, rtol=0, atol=5e-3)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_wrong_normalisation_names_what_was_used(self, dtype: torch.dtype) -> None:
        halves = PixelSpace(mean=(0.5,) * 3, std=(0.5,) * 3)
        pixel_values = IMAGENET.to_pixel_values(as_pixels(eight_bit())).to(dtype)
        with pytest.raises(ValueError, match=r"mean=\(0.5, 0.5, 0.5\), std=\(0.5, 0.5, 0.5\) .* from -0.* to 1.8"):
            halves.recover(pixel_values)

    def test_unnormalised_bytes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="do not match the processor's normalisation"):
            IMAGENET.recover(as_pixels(eight_bit()) * 255)

    @pytest.mark.parametrize("excess", [-0.002, 0.002])
    def test_tolerance(self, excess: float) -> None:
        edge = 0.0 if excess < 0 else 1.0
        assert IMAGENET.recover(IMAGENET.to_pixel_values(torch.full((1, 3, 1, 1), edge + excess / 4))).max() <= 1
        with pytest.raises(ValueError, match="do not match the processor's normalisation"):
            IMAGENET.recover(IMAGENET.to_pixel_values(torch.full((1, 3, 1, 1), edge + excess)))

    def test_one_bad_image_in_the_batch_is_found(self) -> None:
        pixel_values = torch.zeros(8, 3, 4, 4)
        pixel_values[5, 1, 2, 3] = float("nan")
        with pytest.raises(ValueError, match="do not match"):
            IMAGENET.recover(pixel_values)

    @pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4, 3), (3, 4, 4)])
    def test_channels_must_fit(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\), since the processor has mean=\(0.485"):
            IMAGENET.recover(torch.zeros(shape))

    def test_input_is_left_alone(self) -> None:
        pixel_values = IMAGENET.to_pixel_values(torch.full((1, 3, 2, 2), 1.0005))
        before = pixel_values.clone()
        IMAGENET.recover(pixel_values)
        assert torch.equal(pixel_values, before)
