"""One pass over a split before training: every image is decoded, checked, counted, and kept if there is room."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.utils import tqdm
from torch import Tensor

from adsr_hf.data.decoding import BrokenImageError, ConversionCounts
from adsr_hf.data.image_stores import ImageStore, LazyStore, MemoryStore
from adsr_hf.data.processor_geometry import apply_geometry, check_processor
from adsr_hf.data.reading import RowReader
from adsr_hf.data.sources import ORIGIN_COLUMN


@dataclass(frozen=True)
class PreparedSplit:
    """A split that is ready to be read.

    Attributes:
        store: the pixels.
        labels: (N,) int64 class indices.
        rows: (N,) int64, the row of each image in its table.
        digests: BLAKE2b of each image's pixels, 16 bytes; empty unless asked for.
        counts: how many images of which kind were met.
        skipped: what was wrong with each image that was left out.
    """

    store: ImageStore
    labels: Tensor
    rows: Tensor
    digests: list[bytes]
    counts: ConversionCounts
    skipped: list[str]


def prepare_split(
    dataset: Dataset,
    *,
    image_column: str,
    label_column: str,
    reader: RowReader,
    processor: Any,
    name: str,
    skip_broken_images: bool = False,
    cache_gigabytes: float = 4.0,
    with_digests: bool = False,
    show_progress: bool = True,
) -> PreparedSplit:
    """Decode every image once and apply the processor's geometry: resize, crop and pad, not rescale and normalise.

    Args:
        dataset: a split of :class:`adsr_hf.data.labelled.ImageSplits`.
        reader: of its rows.
        name: the split's name, for the progress bar and for errors.
        cache_gigabytes: pixels are kept in memory up to this many gigabytes (10⁹ bytes), else decoded at each access.
        with_digests: take a digest of each image, by which copies can be found.

    Raises:
        BrokenImageError: a ValueError, for an image that cannot be read, unless these are to be skipped.
        ValueError: when the processor does more than geometry, rescale and normalise, leaves images of several sizes,
            or no image is left.
    """
    counts, skipped, kept, digests = ConversionCounts(), list[str](), list[int](), list[bytes]()
    digest = hashlib.sha256()
    first_shape: tuple[int, int, int] | None = None
    first_origin = ""
    images: Tensor | None = None
    for row, item in enumerate(tqdm(dataset, desc=f"Decoding {name}", unit="image", disable=not show_progress)):
        origin = item[ORIGIN_COLUMN]
        try:
            image, kind = reader.read(item[image_column], origin)
        except BrokenImageError as error:
            if not skip_broken_images:
                raise
            skipped.append(str(error))
            continue
        pixels = apply_geometry(processor, image)
        shape: tuple[int, int, int] = tuple(pixels.shape)  # type: ignore[assignment]
        if first_shape is None:
            check_processor(processor, image, pixels)
            first_shape, first_origin = shape, origin
            if len(dataset) * pixels.numel() <= cache_gigabytes * 1e9:
                images = torch.empty((len(dataset), *shape), dtype=torch.uint8)
        check_same_size(first_shape, first_origin, shape, origin)
        if images is not None:
            images[len(kept)] = pixels
        else:
            digest.update(pixels.contiguous().numpy().data)
        if with_digests:
            digests.append(hashlib.blake2b(pixels.contiguous().numpy().data, digest_size=16).digest())
        counts[kind] += 1
        kept.append(row)
    if first_shape is None:
        raise ValueError(f"split {name!r} has no readable image ({len(skipped)} broken ones); check the files")
    rows = np.asarray(kept, dtype=np.int64)
    store: ImageStore
    if images is not None:
        store = MemoryStore(images[: len(kept)])
    else:
        store = LazyStore(
            dataset,
            image_column,
            processor,
            reader=reader,
            rows=rows,
            image_shape=first_shape,
            digest=digest.hexdigest(),
        )
    kept_rows = torch.from_numpy(rows)
    labels = torch.tensor(dataset[label_column][:])[kept_rows]
    return PreparedSplit(store, labels, kept_rows, digests, counts, skipped)


def check_same_size(shape: tuple[int, int, int], origin: str, other: tuple[int, int, int], other_origin: str) -> None:
    """Stop when two images differ in size after the processor.

    Args:
        shape, other: (C, H, W).

    Raises:
        ValueError: names both images and sizes (width × height).
    """
    if shape != other:
        raise ValueError(
            f"images must have one size after the processor, but {origin} has {shape[2]}×{shape[1]} px and "
            f"{other_origin} has {other[2]}×{other[1]} px; give the processor do_resize=True with a fixed "
            "size={'height': …, 'width': …} (or do_center_crop=True), or resize the files"
        )
