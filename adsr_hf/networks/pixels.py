"""Between a model's normalised inputs and pixels in [0, 1], where threat models live."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

# Rounding stays below this; a wrong mean or standard deviation does not.
PIXEL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PixelSpace:
    """The affine map of an image processor: ``pixel_values = (pixels * scale - mean) / std``, per channel.

    Args:
        mean, std: one number for each channel, or a single one for however many there are.
        scale: what a pixel of value 1 becomes before normalisation: 1 where the processor rescales by 1/255,
            255 where it does not rescale.

    Raises:
        ValueError: when the lengths do not fit, or a standard deviation or the scale is not positive.

    Example:
        >>> import torch
        >>> space = PixelSpace(mean=(0.5,), std=(0.25,))
        >>> pixel_values = space.to_pixel_values(torch.full((1, 3, 2, 2), 0.75))
        >>> pixel_values.unique(), space.recover(pixel_values).unique()
        (tensor([1.]), tensor([0.7500]))
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        lengths = {len(self.mean), len(self.std)}
        if 0 in lengths or len(lengths - {1}) > 1:
            raise ValueError(
                f"mean={self.mean} and std={self.std} must have one number for each channel, or a single one"
            )
        if not all(value > 0 for value in (*self.std, self.scale)):
            raise ValueError(f"std={self.std} and scale={self.scale} must be positive")

    @classmethod
    def from_processor(cls, processor: Any) -> "PixelSpace":
        """Read the map from a Hugging Face image processor, which is followed as it is: also without normalisation.

        Raises:
            ValueError: when the object has none of an image processor's fields.
        """
        if not hasattr(processor, "image_mean") and not hasattr(processor, "do_rescale"):
            raise ValueError(
                f"processing_class={type(processor).__name__} is not an image processor, so the pixels behind "
                "pixel_values cannot be recovered; pass processing_class=AutoImageProcessor.from_pretrained(...), or "
                "pixel_space=PixelSpace(mean, std) for inputs that were prepared in another way"
            )
        rescales = getattr(processor, "do_rescale", True)
        factor = getattr(processor, "rescale_factor", None)
        scale = 255.0 * float(factor if factor is not None else 1 / 255) if rescales else 255.0
        mean, std = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
        if not getattr(processor, "do_normalize", True) or mean is None or std is None:
            return cls(mean=(0.0,), std=(1.0,), scale=scale)
        means, stds = (
            tuple(float(v) for v in (values if hasattr(values, "__len__") else [values])) for values in (mean, std)
        )
        return cls(mean=means, std=stds, scale=scale)

    def to_pixels(self, pixel_values: Tensor) -> Tensor:
        """(B, C, H, W) normalised inputs, any dtype, to (B, C, H, W) pixels, float32, unclipped."""
        std, mean = _per_channel(self.std, pixel_values.device), _per_channel(self.mean, pixel_values.device)
        return (pixel_values.float() * std + mean) / self.scale

    def to_pixel_values(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) pixels in [0, 1] to (B, C, H, W) normalised inputs, float32. Differentiable."""
        std, mean = _per_channel(self.std, pixels.device), _per_channel(self.mean, pixels.device)
        return (pixels * self.scale - mean) / std

    def recover(self, pixel_values: Tensor) -> Tensor:
        """Pixels behind a batch of normalised inputs of any dtype, (B, C, H, W), float32, in [0, 1].

        Raises:
            ValueError: when they leave [0, 1] by more than 1e-3 (5e-3 in bfloat16): the inputs were normalised in
                another way.
        """
        channels = max(len(self.mean), len(self.std))
        if pixel_values.ndim != 4 or channels not in (1, pixel_values.shape[1]):
            expected = "C" if channels == 1 else channels
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}; expected (B, {expected}, H, W), "
                f"since the processor has mean={self.mean} and std={self.std}"
            )
        pixels = self.to_pixels(pixel_values)
        low, high = torch.stack(torch.aminmax(pixels)).tolist()
        tolerance = PIXEL_TOLERANCE
        if pixel_values.is_floating_point():
            # A pixel's terms, |pixel_values| * std / scale, are at most 1, so that half an eps bounds their rounding.
            tolerance += torch.finfo(pixel_values.dtype).eps / 2
        if not (low >= -tolerance and high <= 1 + tolerance):
            raise ValueError(
                f"pixel_values do not match the processor's normalisation: with mean={self.mean}, std={self.std} and "
                f"scale={self.scale:g} they stand for pixels from {low:.3f} to {high:.3f}, which must lie in [0, 1]. "
                "Prepare the images with the same processor that you pass as processing_class, or pass the "
                "pixel_space=PixelSpace(mean, std) that your transform really uses"
            )
        return pixels.clamp(0, 1)


# Kept, since a copy to a GPU at every attack step would make it wait for the host.
@lru_cache(maxsize=64)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
