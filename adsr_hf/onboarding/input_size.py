"""The size at which a network sees its images."""

from PIL import Image

from adsr_hf.runs.model import load_processor
from adsr_hf.settings.model import ModelArguments


def input_shape(arguments: ModelArguments) -> tuple[int, int, int]:
    """(C, H, W) of what the network's image processor makes of an image.

    Raises:
        ValueError: when a checkpoint has no processor that can be loaded.
    """
    blank = Image.new("RGB", (256, 256))
    channels, height, width = load_processor(arguments)(images=blank, return_tensors="pt")["pixel_values"].shape[1:]
    return channels, height, width
