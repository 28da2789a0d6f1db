"""Two data sets in one: each batch holds the same share of extra images, and an epoch is a pass over the own ones."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from adsr_hf.data.dataset import Example, ImageClassificationDataset
from adsr_hf.data.keyed_random import permutation

# Keep the two orders apart from each other, and from the augmentation under the same seed.
_OWN_KEY, _EXTRA_KEY = 0x6F776E, 0x6578747261


class MixedDataset(torch.utils.data.Dataset[Example]):
    """Own images with a fixed share f of extra ones, in the order in which an epoch reads them.

    Position p of an epoch holds an extra image where ⌊(p + 1) f⌋ > ⌊p f⌋. So any B positions in a row hold ⌊f B⌋ or
    ⌈f B⌉ extra images, whatever the size of a batch and however many processes share the positions, and in the long
    run the share is f exactly. An epoch reads each own image once. Extra images go on where the epoch before ended, in
    passes over all of them, each in an order of its own. Which image a position holds, and how it is augmented,
    depends on (seed, epoch, position) alone.

    Positions must be read in order (``shuffles_itself``): :class:`adsr_hf.ADSRTrainer` does so.

    Args:
        base, extra: images of one size with the same class names.
        fraction: f, in [0.001, 0.999].
        seed: key of both orders.

    Raises:
        ValueError: when the two differ in class names or in size.
    """

    shuffles_itself = True

    def __init__(
        self, base: ImageClassificationDataset, extra: ImageClassificationDataset, *, fraction: float, seed: int
    ) -> None:
        for name, (value, extra_value) in {
            "class names": (base.class_names, extra.class_names),
            "image shape": (base.store.image_shape, extra.store.image_shape),
        }.items():
            if value != extra_value:
                raise ValueError(f"own and extra images must have the same {name}, but have {value} and {extra_value}")
        self.base = base
        self.extra = extra
        self.seed = seed
        # Exact, so that rounding cannot shift a batch's share.
        self._share = Fraction(fraction).limit_denominator(10_000)

    @property
    def class_names(self) -> list[str]:
        """Name of each class index."""
        return self.base.class_names

    @property
    def epoch(self) -> int:
        """The epoch that keys orders and augmentation."""
        return self.base.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch, also in workers that are running."""
        self.base.set_epoch(epoch)

    def __len__(self) -> int:
        """Own images, each once, and the extra images among them."""
        return len(self.base) * self._share.denominator // (self._share.denominator - self._share.numerator)

    def __getitem__(self, position: int) -> Example:
        """The example at a position of the present epoch; one below 0 counts from the end.

        Raises:
            IndexError: outside the epoch.
        """
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} is outside an epoch of {len(self)} images")
        return self.__getitems__([position % len(self)])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Example]:
        """Examples of a batch, made in one go."""
        is_extra, indices, passes = self._draw(np.asarray(positions, dtype=np.int64))
        images = iter(self.base.examples(indices[~is_extra], epoch=self.epoch))
        extra = iter(self.extra.examples(indices[is_extra], epoch=passes[is_extra]))
        return [next(extra if here else images) for here in is_extra]

    def pixels(self, positions: Sequence[int]) -> Tensor:
        """(B, C, H, W), float32, in [0, 1]: the images at positions of the present epoch, without augmentation."""
        is_extra, indices, _ = self._draw(np.asarray(positions, dtype=np.int64))
        pixels = torch.empty((len(indices), *self.base.store.image_shape))
        pixels[torch.from_numpy(~is_extra)] = self.base.pixels(indices[~is_extra])
        pixels[torch.from_numpy(is_extra)] = self.extra.pixels(indices[is_extra])
        return pixels

    def _draw(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each position (B,): whether it is extra, the index in its own set, and the pass over the extra images."""
        extra_before = positions * self._share.numerator // self._share.denominator
        is_extra = (positions + 1) * self._share.numerator // self._share.denominator > extra_before
        extra_in_epoch = len(self) - len(self.base)
        passes, places = np.divmod(self.epoch * extra_in_epoch + extra_before, len(self.extra))
        indices = np.empty(len(positions), dtype=np.int64)
        own_order = permutation(len(self.base), self.seed, _OWN_KEY, self.epoch)
        indices[~is_extra] = own_order[(positions - extra_before)[~is_extra]]
        for number in np.unique(passes[is_extra]).tolist():
            chosen = is_extra & (passes == number)
            indices[chosen] = permutation(len(self.extra), self.seed, _EXTRA_KEY, number)[places[chosen]]
        return is_extra, indices, passes
