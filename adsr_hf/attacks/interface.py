"""What every named attack offers to the evaluation that drives it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.attacks.threat import ThreatModel


class KeyedImages(NamedTuple):
    """Images that are attacked inside a threat model, each with what its random numbers depend on.

    Attributes:
        pixels: (B, C, H, W), float32, in [0, 1]; images that are classified rightly.
        labels: (B,), int64.
        threat: the allowed perturbations.
        seed: of every random number.
        indices: (B,) positions of the images in their data set.
    """

    pixels: Tensor
    labels: Tensor
    threat: ThreatModel
    seed: int
    indices: Sequence[int]


class NamedAttack(ABC):
    """One attack with its settings.

    Attributes:
        name: such as ``"apgd-t"``.
        settings: JSON values for the record; ``note`` says where the number of classes changed the attack.
        gradients_per_image: forward and backward passes on an image that never falls.
        forwards_per_image: forward passes alone, on the same.
    """

    name: str
    settings: dict[str, Any]
    gradients_per_image: int
    forwards_per_image: int

    def attack(
        self,
        logits_fn: LogitsFunction,
        pixels: Tensor,
        labels: Tensor,
        *,
        threat: ThreatModel,
        seed: int,
        indices: Sequence[int],
    ) -> Tensor:
        """The worst image found for each, (B, C, H, W), float32, in [0, 1] and inside the threat model.

        A row depends on (logits_fn, its pixels, its label, threat, seed, its index) alone: random numbers are drawn
        for each image, or are the same for all.

        Args:
            logits_fn: maps (B, C, H, W) float32 pixels in [0, 1] to (B, K) logits, row by row; its parameters must
                take no gradient meanwhile (:func:`adsr_hf.attacks.frozen.under_attack`).
            pixels: (B, C, H, W), float32, in [0, 1]; images that are classified rightly.
            labels: (B,), int64.
            threat, seed, indices: see :class:`KeyedImages`.
        """
        return self.search(logits_fn, KeyedImages(pixels, labels, threat, seed, indices))

    @abstractmethod
    def search(self, logits_fn: LogitsFunction, batch: KeyedImages) -> Tensor:
        """What :meth:`attack` returns; this is what an attack has of its own."""


def image_generators(seed: int, indices: Sequence[int], *purpose: object) -> list[torch.Generator]:
    """A CPU generator for each image, keyed by (seed, its position, what it is for)."""
    return [torch.Generator().manual_seed(derived_seed(seed, index, *purpose)) for index in indices]


def derived_seed(*parts: object) -> int:
    """A seed of 63 bits from everything that must tell two streams of random numbers apart."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
