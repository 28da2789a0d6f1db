"""No image of the validation or the test split among the extra ones: neither its place on disk nor its pixels."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from adsr_hf.data.preparation import PreparedSplit
from adsr_hf.data.sources import ORIGIN_COLUMN, local_places
from adsr_hf.data.splits import choose_splits
from adsr_hf.settings.data import DataArguments


def check_places(arguments: DataArguments, extra_places: list[Path]) -> None:
    """Stop when extra images are read where ``dataset`` has held-out ones; links and spellings of paths are resolved.

    Args:
        arguments: with an ``extra_dataset``.
        extra_places: folders whose images are all read, or Parquet files.

    Raises:
        ValueError: when a place is that of a held-out split, lies inside it, or contains it.
    """
    for role, places in _held_out_places(arguments).items():
        for place in places:
            for extra in extra_places:
                if _overlap(place.resolve(), extra.resolve()):
                    raise ValueError(
                        f"extra_split={arguments.extra_split!r} reads {extra}, but dataset={arguments.dataset!r} "
                        f"has the images that are held out for {role} in {place}; no held-out image may be trained "
                        "on: choose another extra_dataset or extra_split, such as a folder of its own"
                    )


def _held_out_places(arguments: DataArguments) -> dict[str, list[Path]]:
    found = local_places(arguments)
    if not found:
        return {}
    train, validation, test = choose_splits(list(found), arguments)
    if validation is None and arguments.validation_fraction > 0:
        validation = train
    held_out = {"validation": validation, "test": test}
    return {role: found[name] for role, name in held_out.items() if name is not None}


def _overlap(first: Path, second: Path) -> bool:
    """Whether an image can lie in both; a Parquet file is no part of what is read from a folder of images."""
    return first == second or (
        first.is_dir() and second.is_dir() and (first in second.parents or second in first.parents)
    )


@dataclass(frozen=True)
class DecodedSplit:
    """A split with the table that it was made from.

    Attributes:
        table: with ``image_column`` and ``ORIGIN_COLUMN``, not decoded.
        prepared: its images, with digests.
    """

    table: Dataset
    image_column: str
    prepared: PreparedSplit

    def rows_by_digest(self) -> Iterator[tuple[bytes, int]]:
        """The digest of each image and its row in the table."""
        return zip(self.prepared.digests, self.prepared.rows.tolist(), strict=True)

    def describe(self, row: int) -> str:
        """Origin and, if it has one, path of an image."""
        item = self.table[row]
        path = item[self.image_column].get("path")
        return f"{item[ORIGIN_COLUMN]} ({path})" if path else str(item[ORIGIN_COLUMN])


def check_pixels(arguments: DataArguments, extra: DecodedSplit, held_out: dict[str, list[DecodedSplit]]) -> None:
    """Stop when an extra image is a held-out one, pixel for pixel, after the processor's geometry.

    Digests are compared (BLAKE2b, 128 bits). They were taken in the pass that decoded each split, so that one which is
    decoded at each access is not read once more. Copies that were scaled, mirrored or compressed anew are not found.
    A copy of an image that only train has is no leak.

    Args:
        arguments: with an ``extra_dataset``.
        held_out: ``"validation"`` and ``"test"``, where they exist, each in one or more parts.

    Raises:
        ValueError: says how many there are, and names the first.
    """
    originals = {
        digest: (role, split, row)
        for role, parts in held_out.items()
        for split in parts
        for digest, row in split.rows_by_digest()
    }
    copies = [(row, *originals[digest]) for digest, row in extra.rows_by_digest() if digest in originals]
    if not copies:
        return
    row, _, split, original = copies[0]
    counts = " and ".join(f"{count} of {role}" for role, count in Counter(role for _, role, _, _ in copies).items())
    raise ValueError(
        f"extra_dataset={arguments.extra_dataset!r} with extra_split={arguments.extra_split!r} holds {len(copies)} "
        f"cop{'y' if len(copies) == 1 else 'ies'} of held-out images of dataset={arguments.dataset!r}, equal pixel "
        f"for pixel: {counts}; the first is {extra.describe(row)}, a copy of {split.describe(original)}. "
        "No held-out image may be trained on: remove them from extra_dataset, or choose another extra_dataset or "
        "extra_split"
    )
