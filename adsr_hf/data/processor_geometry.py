"""The part of an image processor that moves pixels: resize, crop, pad. Rescaling and normalisation come later."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from adsr_hf.networks.pixels import PixelSpace

_TOLERANCE = 1e-4


def apply_geometry(processor: Any, image: Image.Image) -> Tensor:
    """An RGB image through a processor's geometry only: (C, H, W), uint8.

    Raises:
        ValueError: when the processor gives something other than 8-bit pixels: see :func:`check_processor`.
    """
    pixels = processor(image, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][0]
    if pixels.dtype != torch.uint8 or pixels.ndim != 3:
        raise ValueError(_does_more(processor, f"gives {pixels.dtype} of shape {tuple(pixels.shape)} without them"))
    return pixels


def check_processor(processor: Any, image: Image.Image, pixels: Tensor) -> None:
    """Make sure that a processor is its geometry, then rescale and normalise, and no more.

    Args:
        image: one RGB image.
        pixels: (C, H, W), uint8: what :func:`apply_geometry` made of it.

    Raises:
        ValueError: when its whole output differs by more than 1e-4 from what :class:`PixelSpace` makes of ``pixels``.
    """
    expected = processor(image, return_tensors="pt")["pixel_values"].float()
    ours = PixelSpace.from_processor(processor).to_pixel_values(pixels[None].float() / 255)
    if expected.shape != ours.shape or not torch.allclose(expected, ours, rtol=1e-6, atol=_TOLERANCE):
        raise ValueError(_does_more(processor, "gives other values than these three would"))


def _does_more(processor: Any, what: str) -> str:
    return (
        f"this processor ({type(processor).__name__}) does more than geometry, rescale and normalise: it {what}, so "
        "that the pixels behind its output, which attacks need, cannot be recovered; use a processor of the ViT kind "
        "(resize, crop, rescale, normalise), or prepare a data set of your own and pass it to ADSRTrainer with its "
        "pixel_space"
    )
