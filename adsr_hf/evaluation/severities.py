"""How strong each severity of each corruption is: the tables of Hendrycks & Dietterich 2019, one for each image size.

*Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*, arXiv 1903.12261; the numbers are
those of the authors' code (github.com/hendrycks/robustness, ImageNet-C/create_c: make_cifar_c, make_tinyimagenet_c and
make_imagenet_c). A small image is corrupted more mildly there, since less of it can be lost before it is unreadable.
"""

import math
from dataclasses import dataclass

import numpy as np

SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)

Strengths = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class SeverityTable:
    """Strengths of the severities 1 to 5.

    Attributes:
        name: of the authors' data set.
        side: of its images, in pixels, which lengths are told for; they are scaled with the image.
        gaussian: standard deviation of the noise, of the brightness range.
        photons: that a white pixel collects.
        impulses: share of values that become 0 or 1.
        disk: radius in pixels of a point that is out of focus.
        motion: (radius, standard deviation) in pixels of the authors' trail, see :meth:`motion_length`.
        brightness: added to every value.
        contrast: factor around the image's mean.
        jpeg: quality.
    """

    name: str
    side: int
    gaussian: Strengths
    photons: Strengths
    impulses: Strengths
    disk: Strengths
    motion: tuple[tuple[int, float], ...]
    brightness: Strengths
    contrast: Strengths
    jpeg: tuple[int, ...]

    def motion_length(self, level: int) -> float:
        """Length in pixels of an even line that blurs as far as the authors' trail, which fades as half a Gaussian.

        Both have the same standard deviation along the line, that of an even line being length / √12.
        """
        radius, deviation = self.motion[level]
        steps = np.arange(2 * radius + 1)
        light = np.exp(-(steps**2) / (2 * deviation**2))
        mean = np.average(steps, weights=light)
        return math.sqrt(12 * np.average((steps - mean) ** 2, weights=light))


# Of the image's shorter side; a shift is not among the authors' corruptions.
SHIFT: Strengths = (0.02, 0.04, 0.06, 0.08, 0.10)

_TABLES = (
    SeverityTable(
        name="CIFAR-10-C",
        side=32,
        gaussian=(0.04, 0.06, 0.08, 0.09, 0.10),
        photons=(500, 250, 100, 75, 50),
        impulses=(0.01, 0.02, 0.03, 0.05, 0.07),
        disk=(0.3, 0.4, 0.5, 1.0, 1.5),
        motion=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        brightness=(0.05, 0.10, 0.15, 0.20, 0.30),
        contrast=(0.75, 0.50, 0.40, 0.30, 0.15),
        jpeg=(80, 65, 58, 50, 40),
    ),
    SeverityTable(
        name="Tiny ImageNet-C",
        side=64,
        gaussian=(0.04, 0.08, 0.12, 0.15, 0.18),
        photons=(250, 100, 50, 30, 15),
        impulses=(0.01, 0.02, 0.05, 0.08, 0.14),
        disk=(0.5, 1.0, 1.5, 2.5, 3.0),
        motion=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        brightness=(0.10, 0.20, 0.30, 0.40, 0.50),
        contrast=(0.40, 0.30, 0.20, 0.10, 0.05),
        jpeg=(65, 58, 50, 40, 25),
    ),
    SeverityTable(
        name="ImageNet-C",
        side=224,
        gaussian=(0.08, 0.12, 0.18, 0.26, 0.38),
        photons=(60, 25, 12, 5, 3),
        impulses=(0.03, 0.06, 0.09, 0.17, 0.27),
        disk=(3, 4, 6, 8, 10),
        motion=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        brightness=(0.10, 0.20, 0.30, 0.40, 0.50),
        contrast=(0.40, 0.30, 0.20, 0.10, 0.05),
        jpeg=(25, 18, 15, 10, 7),
    ),
)


def severity_table(height: int, width: int) -> SeverityTable:
    """The table whose images are nearest in size by ratio: up to a shorter side of 45 px, up to 119 px, and above.

    Args:
        height, width: of the images, in pixels.
    """
    side = min(height, width)
    return min(_TABLES, key=lambda table: abs(math.log(side / table.side)))
