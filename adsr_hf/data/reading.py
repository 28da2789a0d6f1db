"""From a row of a table to an image: which files a row may name, and how many pixels an image may have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from adsr_hf.data.decoding import BrokenImageError, decode_image


@dataclass(frozen=True)
class RowReader:
    """Reads images from undecoded rows ``{"bytes": …, "path": …}``.

    Args:
        max_pixels: images of more pixels (width × height) count as broken: a small file may claim to be huge.
        folders: where the paths that rows name must lead; None = anywhere, for paths that were found by looking.
    """

    max_pixels: int
    folders: tuple[Path, ...] | None = None

    def read(self, row: dict[str, Any] | None, origin: str) -> tuple[PillowImage.Image, str]:
        """An image and its kind; see :func:`adsr_hf.data.decoding.decode_image`.

        Args:
            row: ``bytes`` are used where they are not None; else ``path``, of which a relative one starts in the first
                folder.
            origin: what errors call the row.

        Raises:
            BrokenImageError: when the row holds no image, or one that cannot be read; names ``origin`` and path.
            ValueError: when the row names a file outside the folders.
        """
        path = row.get("path") if row else None
        name = f"{origin} ({path})" if path else origin
        if row and row["bytes"]:
            return decode_image(row["bytes"], name=name, max_pixels=self.max_pixels)
        if not path:
            raise BrokenImageError(
                f"row {origin} holds no image; remove the row, or set skip_broken_images to leave such rows out"
            )
        return decode_image(self._allowed(path, name), name=name, max_pixels=self.max_pixels)

    def _allowed(self, path: str, name: str) -> Path:
        if self.folders is None:
            return Path(path)
        try:
            # Joined to an absolute path, the folder is dropped.
            resolved = (self.folders[0] / path).resolve()
        except (ValueError, OSError, RuntimeError) as error:
            raise BrokenImageError(
                f"row {name} holds no image but a path that no file can have ({error}); remove the row, or set "
                "skip_broken_images to leave such rows out"
            ) from error
        if not any(resolved.is_relative_to(folder.resolve()) for folder in self.folders):
            raise ValueError(
                f"row {name} holds no image but the path of a file outside {self.folders[0]}, which is not read: a "
                "data set could so read any file of this machine. Write the images themselves into the table, or move "
                "them below that folder"
            )
        return resolved
