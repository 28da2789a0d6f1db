"""Threat models: which perturbations an attacker may make, as one small value object."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adsr_hf.settings.radius import Norm, Radius, check_radius

RandomSource = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class ThreatModel:
    """An attacker who may move an image by at most ``epsilon`` in ``norm``, staying inside the pixel box [0, 1].

    Args:
        norm: ``"Linf"`` (largest change of any one value) or ``"L2"`` (Euclidean length of the whole change).
        epsilon: the radius, in units of pixels scaled to [0, 1]; one grey level of an 8-bit image is 1/255.

    Raises:
        ValueError: for an unknown norm, a radius that is not finite or is negative, or an Linf radius above 1.

    Example:
        >>> threat = ThreatModel.parse("Linf 8/255")
        >>> threat.norm, str(threat)
        ('Linf', 'Linf 8/255')
        >>> import torch
        >>> image = torch.full((1, 3, 2, 2), 0.5)
        >>> bool(threat.contains(image, threat.project(image, image + 1)))
        True
    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        check_radius(self.norm, self.epsilon)

    @classmethod
    def parse(cls, text: str) -> "ThreatModel":
        """Read ``"Linf 8/255"`` or ``"L2 0.5"``.

        Raises:
            ValueError: when the text is not a norm followed by a radius, or either is not allowed.
        """
        parts = text.split(maxsplit=1)
        if len(parts) != 2:
            raise ValueError(f"a threat model is a norm and a radius, such as 'Linf 8/255' or 'L2 0.5', got {text!r}")
        norm, radius = parts
        return cls(norm=norm, epsilon=Radius(radius))  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Text that :meth:`parse` reads back to the same radius, as n/255 where that is exact and shorter."""
        levels = round(self.epsilon * 255)
        number, fraction = repr(float(self.epsilon)).removesuffix(".0"), f"{levels}/255"
        exact = levels / 255 == self.epsilon
        return f"{self.norm} {fraction if exact and len(fraction) < len(number) else number}"

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance of each pair of images in this norm, shape (B,), float32.

        Args:
            images, others: (B, C, H, W), float.
        """
        difference = (others.float() - images.float()).flatten(1)
        return difference.abs().amax(1) if self.norm == "Linf" else difference.norm(dim=1)

    def project(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """The nearest point of the ball around ``images``, then clipped to [0, 1].

        The box holds ``images``, so that clipping to it never leaves the ball. Allowed images come back unchanged.

        Args:
            images: (B, C, H, W), float32, in [0, 1]: centres of the balls.
            perturbed: (B, C, H, W), float32, finite, anywhere.
        """
        if self.norm == "Linf":
            inside = torch.minimum(torch.maximum(perturbed, images - self.epsilon), images + self.epsilon)
            return inside.clamp(0, 1)
        length, direction = _polar(perturbed - images)
        outside = (length > self.epsilon)[:, None, None, None]
        return torch.where(outside, images + self.epsilon * direction, perturbed).clamp(0, 1)

    def contains(self, images: Tensor, perturbed: Tensor, tolerance: float = 1e-6) -> Tensor:
        """Whether each image is allowed: inside ball and box, up to ``tolerance``. Shape (B,), bool."""
        flat = perturbed.flatten(1)
        in_box = (flat.amin(1) >= -tolerance) & (flat.amax(1) <= 1 + tolerance)
        return in_box & (self.distance(images, perturbed) <= self.epsilon + tolerance)

    def sample(self, images: Tensor, generator: RandomSource = None) -> Tensor:
        """A point drawn uniformly from the ball around each image, clipped to [0, 1]; drawn on the generator's device.

        Args:
            images: (B, C, H, W), float32, in [0, 1].
            generator: one for the batch, or one for each image, so that an image's point does not depend on its batch.
        """
        if isinstance(generator, Sequence):
            points = [self.sample(image[None], source) for image, source in zip(images, generator, strict=True)]
            return torch.cat(points)
        device = generator.device if generator is not None else images.device
        if self.norm == "Linf":
            noise = torch.rand(images.shape, generator=generator, device=device) * 2 - 1
        else:
            _, direction = _polar(torch.randn(images.shape, generator=generator, device=device))
            dimension = images[0].numel()
            radius = torch.rand(images.shape[0], generator=generator, device=device) ** (1 / dimension)
            noise = direction * radius[:, None, None, None]
        return self.project(images, images + self.epsilon * noise.to(images.device))

    def sample_near(self, images: Tensor, deviation: float, generator: RandomSource = None) -> Tensor:
        """The images plus Gaussian noise, inside the ball and [0, 1]: TRADES' start (Zhang et al. 2019, algorithm 1).

        Args:
            images: (B, C, H, W), float32, in [0, 1].
            deviation: standard deviation of the noise, in [0, 1] pixel units.
            generator: as in :meth:`sample`.
        """
        if isinstance(generator, Sequence):
            points = [
                self.sample_near(image[None], deviation, source)
                for image, source in zip(images, generator, strict=True)
            ]
            return torch.cat(points)
        device = generator.device if generator is not None else images.device
        noise = torch.randn(images.shape, generator=generator, device=device)
        return self.project(images, images + deviation * noise.to(images.device))

    def ascent_step(self, gradient: Tensor, step_size: float) -> Tensor:
        """Steepest ascent of length ``step_size``: the sign of the gradient (Linf) or its unit vector (L2).

        Args:
            gradient: (B, C, H, W), float32.
        """
        if self.norm == "Linf":
            return step_size * gradient.sign()
        _, direction = _polar(gradient)
        return step_size * direction


def _polar(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean length (B,) and unit vector (B, C, H, W) of each image; the unit vector of zero is zero."""
    tiny = torch.finfo(vectors.dtype).tiny
    # Gradients of a confident model are near 1e-25, whose square is 0 in float32: bring the largest entry to 1 first.
    largest = vectors.flatten(1).abs().amax(1).clamp_min(tiny)
    scaled = vectors / largest[:, None, None, None]
    length = scaled.flatten(1).norm(dim=1)
    return largest * length, scaled / length.clamp_min(tiny)[:, None, None, None]
