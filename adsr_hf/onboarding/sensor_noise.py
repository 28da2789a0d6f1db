"""How much noise photos hold already: a lower bound of what a model must put up with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class SensorNoise:
    """Estimated standard deviation of the noise of some photos, in grey levels of 255.

    Attributes:
        median: over the photos.
        low, high: first and third quartile.
        photos: how many were looked at.
    """

    median: float
    low: float
    high: float
    photos: int


def estimate_noise(images: Sequence[Image.Image]) -> SensorNoise:
    """Noise of photos at their own size, from the finest wavelet coefficients.

    Donoho & Johnstone 1994, section 4.2, as scikit-image computes it: the median absolute coefficient over 0.6745, a
    mean over channels. It holds for noise that is alike everywhere and independent from pixel to pixel: downsizing and
    JPEG lower it, and fine texture raises it.

    Args:
        images: RGB, at least one, each of at least 2 × 2 px.

    Raises:
        ImportError: when scikit-image is not installed; with what installs it.
        ValueError: when there is no image.
    """
    try:
        from skimage.restoration import estimate_sigma
    except ImportError:
        raise ImportError(
            "the noise of photos is estimated by scikit-image, which is not installed: pip install 'adsr_hf[threat]'"
        ) from None
    if not images:
        raise ValueError("images is empty; give at least one photo")
    values = [
        float(estimate_sigma(np.asarray(image, dtype=np.float64), channel_axis=-1, average_sigmas=True))
        for image in images
    ]
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return SensorNoise(float(median), float(low), float(high), len(values))
