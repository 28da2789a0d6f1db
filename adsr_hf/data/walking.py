"""Finding image files below a folder, through links too, and telling what was left out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image as PillowImage


@dataclass
class LeftOut:
    """What was found and not read.

    Attributes:
        files: how many are no images, or outside the class folders.
        dangling: links that lead nowhere.
        again: links to folders that are read already, or that they lie in themselves.
    """

    files: int = 0
    dangling: list[Path] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)

    def look_at(self, paths: Iterable[Path]) -> None:
        """Count files that are not read."""
        for path in paths:
            if path.exists():
                self.files += 1
            else:
                self.dangling.append(path)

    def notes(self) -> list[str]:
        """One sentence for each kind."""
        notes = []
        if self.files:
            notes.append(f"{self.files} files were left out: no images, or outside the class folders")
        if self.dangling:
            notes.append(f"links that lead nowhere were left out: {len(self.dangling)}, such as {self.dangling[0]}")
        if self.again:
            notes.append(
                f"links to folders that are read already were left out: {len(self.again)}, such as {self.again[0]}"
            )
        return notes

    def as_reason(self) -> str:
        """The same behind an error's sentence."""
        return "".join(f"; {note}" for note in self.notes())


def find_images(folder: Path, left_out: LeftOut) -> tuple[list[Path], set[Path]]:
    """Every visible image file below a folder, in order; links to files and to folders are followed.

    A real folder is read once, however many links lead to it, and never one that holds ``folder`` itself, so that
    links in a circle come to an end.

    Args:
        left_out: gets what is not read.

    Returns:
        the files, and the real folders that were read.
    """
    start = folder.resolve()
    seen = {start}
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        for path in visible(waiting.pop().iterdir()):
            if path.is_dir():
                real = path.resolve()
                if real in seen or start.is_relative_to(real):
                    left_out.again.append(path)
                else:
                    seen.add(real)
                    waiting.append(path)
            elif is_image(path):
                found.append(path)
            else:
                left_out.look_at([path])
    return sorted(found), seen


def visible(paths: Iterable[Path]) -> list[Path]:
    """Those that are not hidden, in order."""
    return sorted(path for path in paths if not path.name.startswith("."))


def is_image(path: Path) -> bool:
    """Whether a path is a file that Pillow has a reader for, by its name."""
    kind = PillowImage.registered_extensions().get(path.suffix.lower())
    return kind in PillowImage.OPEN and path.is_file()
