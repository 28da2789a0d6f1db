"""Images from any source to the data sets that Trainer reads. Nothing heavy is imported before it is used."""

from typing import TYPE_CHECKING

from adsr_hf.settings.data import DataArguments
from adsr_hf.settings.lazy_names import fetched

if TYPE_CHECKING:
    from adsr_hf.data.dataset import ImageClassificationDataset
    from adsr_hf.data.extra.mixed import MixedDataset
    from adsr_hf.data.loading import ImageData, MeasuredData, load_image_data, load_measured_data

_HOMES = {
    "ImageClassificationDataset": "adsr_hf.data.dataset",
    "ImageData": "adsr_hf.data.loading",
    "MeasuredData": "adsr_hf.data.loading",
    "MixedDataset": "adsr_hf.data.extra.mixed",
    "load_image_data": "adsr_hf.data.loading",
    "load_measured_data": "adsr_hf.data.loading",
}

__all__ = [
    "DataArguments",
    "ImageClassificationDataset",
    "ImageData",
    "MeasuredData",
    "MixedDataset",
    "load_image_data",
    "load_measured_data",
]

__getattr__ = fetched(__name__, _HOMES)
