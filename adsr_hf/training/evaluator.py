"""Measures networks on the batches of one evaluation: clean, and under the evaluation attack."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adsr_hf.attacks import PGD, PixelSpace
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.config import ADSRConfig
from adsr_hf.measures.figures import MeasuredLogits, worst_case_logits
from adsr_hf.networks.classifier import logits_of, pixels_to_logits
from adsr_hf.networks.normalisation import NormalisationCheck


class RobustEvaluator:
    """What some networks say about one set of images; made for one evaluation, and forgotten after it.

    Args:
        networks: bare networks by the prefix of their figures.
        attack: None = clean figures alone.
        pixel_space: how inputs are normalised.
        num_classes: K.
        accelerator: gathers the outcomes of all processes, and computes in the run's precision.
        seed: of the attack's random starts: an evaluation must not change the training that follows.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        *,
        attack: PGD | None,
        pixel_space: PixelSpace,
        num_classes: int,
        accelerator: Accelerator,
        seed: int,
    ) -> None:
        self._networks, self._attack, self._accelerator = networks, attack, accelerator
        self._pixel_space, self._num_classes = pixel_space, num_classes
        self._normalisation = NormalisationCheck(pixel_space)
        self._generator = torch.Generator(accelerator.device).manual_seed(seed)
        self._clean: dict[str, list[Tensor]] = {prefix: [] for prefix in networks}
        self._attacked: dict[str, list[Tensor]] = {prefix: [] for prefix in networks}
        self._labels: list[Tensor] = []

    @classmethod
    def of_run(
        cls,
        args: ADSRConfig,
        networks: Mapping[str, nn.Module],
        *,
        pixel_space: PixelSpace,
        num_classes: int,
        accelerator: Accelerator,
    ) -> "RobustEvaluator":
        """One that attacks as the run's settings say."""
        return cls(
            networks,
            attack=args.evaluation_attack if args.eval_attack_steps > 0 else None,
            pixel_space=pixel_space,
            num_classes=num_classes,
            accelerator=accelerator,
            seed=args.seed + args.process_index,
        )

    def add(self, pixel_values: Tensor, labels: Tensor, others: dict[str, Any]) -> None:
        """Measure one batch of this process; every process must have as many.

        Args:
            pixel_values: (B, C, H, W) normalised inputs.
            labels: (B,) int64 class indices.
            others: what else the model takes.

        Raises:
            ValueError: when the inputs do not fit the pixel space, or the model gives no (B, K) logits.
        """
        pixels = self._pixel_space.recover(pixel_values)
        self._normalisation.look(pixel_values)
        for prefix, network in self._networks.items():
            with under_attack(network), self._accelerator.autocast():
                with torch.no_grad():
                    output = network(pixel_values=pixel_values, **others)
                clean = logits_of(output, self._num_classes)
                self._keep(self._clean[prefix], clean)
                if self._attack is not None:
                    logits_fn = pixels_to_logits(network, self._pixel_space, self._num_classes, **others)
                    adversarial = self._attack.attack(logits_fn, pixels, labels, generator=self._generator)
                    with torch.no_grad():
                        attacked = logits_fn(adversarial)
                    worst = worst_case_logits(clean.float(), attacked.float(), labels)
                    self._keep(self._attacked[prefix], worst)
        self._keep(self._labels, labels)

    def measured(self) -> dict[str, MeasuredLogits]:
        """By prefix, the outcomes of all processes so far; empty where there was no image."""
        if not self._labels:
            return {}
        labels = torch.cat(self._labels)
        return {
            prefix: MeasuredLogits(
                torch.cat(clean), torch.cat(self._attacked[prefix]) if self._attacked[prefix] else None, labels
            )
            for prefix, clean in self._clean.items()
        }

    def figures(self) -> dict[str, float]:
        """``images``, and the figures of every network, its prefix before them."""
        figures: dict[str, float] = {}
        for prefix, measured in self.measured().items():
            figures["images"] = len(measured.labels)
            figures |= {f"{prefix}{name}": value for name, value in measured.figures().items()}
        return figures

    def _keep(self, kept: list[Tensor], values: Tensor) -> None:
        values = values.detach()
        # In the last batch of several processes, images that only fill it up go.
        gathered = self._accelerator.gather_for_metrics(values.float() if values.is_floating_point() else values)
        kept.append(gathered.cpu())


class WatchedLoader:
    """A loader of batches whose every batch is shown to ``look`` before it is handed on; in all else the loader.

    Args:
        loader: of batches.
        look: gets each batch as the loader made it.
    """

    def __init__(self, loader: Any, look: Callable[[Any], None]) -> None:
        self._loader, self._look = loader, look

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            self._look(batch)
            yield batch

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def networks_to_measure(args: ADSRConfig, student: nn.Module, average: nn.Module | None) -> dict[str, nn.Module]:
    """Bare networks by the prefix of their figures, as ``evaluate_weights`` says; the student where it is alone."""
    networks: dict[str, nn.Module] = {}
    if args.evaluate_weights in ("both", "student") or average is None:
        networks[""] = student
    if args.evaluate_weights in ("both", "teacher") and average is not None:
        networks["teacher_"] = average
    return networks
