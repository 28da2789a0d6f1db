"""Square Attack of Andriushchenko et al. 2020 (arXiv 1912.00049): random search that sees logits and no gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor

from adsr_hf.attacks.batch_invariance import pad_rows
from adsr_hf.attacks.interface import KeyedImages, NamedAttack, derived_seed, image_generators
from adsr_hf.attacks.pgd import LogitsFunction


class _Keyed(SquareAttack):
    """Start stripes are drawn image by image; windows and their signs are the same for all, query by query.

    The authors share windows within a batch; here they are shared by the whole run, so that batches do not matter.
    """

    generators: list[torch.Generator] | None = None

    def random_choice(self, shape: Sequence[int]) -> Tensor:
        if self.generators is not None and shape[0] == len(self.generators):
            rows = [torch.rand(tuple(shape[1:]), generator=generator) for generator in self.generators]
            return torch.sign(2 * torch.stack(rows) - 1).to(self.device)
        if len(shape) == 4:
            shared = torch.rand((1, *shape[1:])).expand(*shape)
            return torch.sign(2 * shared - 1).to(self.device)
        return torch.sign(2 * torch.rand(tuple(shape)) - 1).to(self.device)

    def random_int(self, low: int = 0, high: int = 1, shape: Sequence[int] = (1,)) -> Tensor:
        # The first window is drawn when the start is done.
        self.generators = None
        return super().random_int(low, high, list(shape))


class RandomSquares(NamedAttack):
    """Square with the margin loss, one restart.

    Args:
        num_queries: forward passes for each image, at least 1; 5,000 in AutoAttack's standard version.
    """

    def __init__(self, name: str, *, num_queries: int) -> None:
        self.name = name
        self.num_queries = num_queries
        self.settings: dict[str, Any] = {"queries": num_queries, "restarts": 1}
        self.gradients_per_image = 0
        self.forwards_per_image = num_queries

    def search(self, logits_fn: LogitsFunction, batch: KeyedImages) -> Tensor:
        """See :class:`adsr_hf.attacks.interface.NamedAttack`."""
        pixels, labels, threat, seed, indices = batch
        if threat.norm == "L2" and min(pixels.shape[2:]) < 5:
            raise ValueError(f"square under L2 needs images of at least 5 x 5 pixels, got {tuple(pixels.shape[2:])}")
        published = _Keyed(logits_fn, norm=threat.norm, eps=threat.epsilon, n_queries=self.num_queries)
        images, targets = pad_rows(pixels.detach().float()), pad_rows(labels)
        padded = [*indices, *[indices[-1]] * (len(images) - len(pixels))]
        published.init_hyperparam(images)
        published.generators = image_generators(seed, padded, self.name)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.random.default_generator.manual_seed(derived_seed(seed, self.name, "windows"))
            _, found = published.attack_single_run(images, targets)
        return threat.project(images, found)[: len(pixels)]
