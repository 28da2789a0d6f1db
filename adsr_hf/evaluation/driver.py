"""Walks an evaluation's images through its stages: clean, every attack under every threat, noise.

Images are shared out by their position, each process takes its own through all stages, and every finished unit goes to
the journal; what the journal holds is never computed again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.attacks.batch_invariance import ROWS
from adsr_hf.attacks.interface import NamedAttack
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.evaluation.corruptions import KINDS
from adsr_hf.evaluation.fingerprints import batch_of
from adsr_hf.evaluation.journal import ImageColumns, Journal
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.progress import Passes
from adsr_hf.evaluation.remaining_time import RemainingTime
from adsr_hf.evaluation.sanity import SANITY_IMAGES, passes_per_image, square_is_known
from adsr_hf.evaluation.severities import SEVERITIES
from adsr_hf.evaluation.stability import measure_stability

CLEAN = "clean"
NOISE = "noise"
SHOWN = "shown"
NOISE_PASSES = len(KINDS) * len(SEVERITIES)
# Of which adversarial images are kept, where they fall, to be shown.
SHOWN_IMAGES = 64


def stage_of(threat: ThreatModel, attack: NamedAttack) -> str:
    """Name of a stage in the journal."""
    return f"{threat} {attack.name}"


def shown_sample(total: int, seed: int) -> set[int]:
    """Positions whose adversarial images are kept: a fixed random sample."""
    generator = np.random.default_rng([seed, total])
    return set(generator.permutation(total)[:SHOWN_IMAGES].tolist())


@dataclass
class Driver:
    """One process's share of an evaluation.

    Attributes:
        logits_fn: row by row, maps pixels to logits; the model is in eval mode and frozen.
        positions: of this process's images, ascending.
        labels: (N,), int64, of all images.
        remaining: is told what is left, sanity checks included.
    """

    plan: Plan
    dataset: Any
    labels: Tensor
    pixel_space: PixelSpace
    logits_fn: LogitsFunction
    attacks: Sequence[NamedAttack]
    journal: Journal
    positions: Sequence[int]
    device: torch.device
    passes: Passes
    remaining: RemainingTime

    def run(self) -> None:
        """Do everything that the journal does not hold yet."""
        clean = self._clean()
        threatened = [index for index, logits in clean.items() if int(logits.argmax()) == int(self.labels[index])]
        todo = self._standing(threatened)
        self.passes.plan(sum(count * self.passes.cost([attack]) for attack, count in todo))
        extra = len(self.positions) * NOISE_PASSES if self.plan.stability else 0
        self.passes.plan(extra)
        # Some images fall early; how many is what we are about to find out.
        expected = extra + sum(count * self.passes.cost([attack]) for attack, count in todo)
        self._sanity = self._sanity_passes(len(threatened)) if self.plan.sanity else 0.0
        self.remaining.begin((expected + self._sanity) * self.passes.seconds_per_forward)
        for threat in self.plan.threats:
            self._under(threat, threatened)
        if self.plan.stability:
            self._noise(clean)

    def _clean(self) -> dict[int, np.ndarray]:
        done = self._read(CLEAN)
        missing = [index for index in self.positions if index not in done]
        measured = False
        self.passes.plan(len(missing))
        for unit in self._units(missing):
            pixels = self._pixels(unit)
            with torch.no_grad():
                logits = finite(self.logits_fn(pixels)).cpu().numpy()
            self.journal.add(CLEAN, {"index": np.array(unit), "logits": logits})
            done |= dict(zip(unit, logits, strict=True))
            if not measured:
                self.passes.measure(self.logits_fn, pixels)
                measured = True
        if not measured:
            self.passes.measure(self.logits_fn, self._pixels(self.positions[:1]))
        return {index: done[index] for index in self.positions}

    def _standing(self, threatened: list[int]) -> list[tuple[NamedAttack, int]]:
        """For each stage its attack and how many images it will be run on if no more fall."""
        result = []
        for threat in self.plan.threats:
            standing = len(threatened)
            for attack in self.attacks:
                done = self._read(stage_of(threat, attack))
                result.append((attack, max(0, standing - len(done))))
                standing -= sum(int(logits.argmax()) != int(self.labels[index]) for index, logits in done.items())
        return result

    def _under(self, threat: ThreatModel, standing: list[int]) -> None:
        """Every attack in turn on the images that still stand."""
        keep = shown_sample(len(self.labels), self.plan.seed) if threat == self.plan.threats[0] else set()
        for number, attack in enumerate(self.attacks):
            stage = stage_of(threat, attack)
            done = self._read(stage)
            for unit in self._units([index for index in standing if index not in done]):
                planned, before = len(unit) * self.passes.cost([attack]), self.passes.shown
                logits, rows = self._attacked(unit, threat, attack, keep)
                self.journal.add(stage, rows)
                done |= dict(zip(unit, logits, strict=True))
                self._finish(planned, before)
            fallen = {index for index, logits in done.items() if int(logits.argmax()) != int(self.labels[index])}
            lost = [index for index in standing if index in fallen]
            standing = [index for index in standing if index not in fallen]
            self.passes.plan(-len(lost) * self.passes.cost(self.attacks[number + 1 :]))

    def _attacked(
        self, unit: list[int], threat: ThreatModel, attack: NamedAttack, keep: set[int]
    ) -> tuple[np.ndarray, ImageColumns]:
        pixels = self._pixels(unit)
        labels = self.labels[unit].to(self.device)
        found = attack.attack(self.logits_fn, pixels, labels, threat=threat, seed=self.plan.seed, indices=unit)
        with torch.no_grad():
            logits = finite(self.logits_fn(found)).cpu()
        fell = (logits.argmax(1) != labels.cpu()).tolist()
        shown = [row for row, index in enumerate(unit) if index in keep and fell[row]]
        if shown:
            kept = {"index": np.array([unit[row] for row in shown]), "image": found[shown].cpu().numpy()}
            self.journal.add(SHOWN, kept)
        rows: ImageColumns = {
            "index": np.array(unit),
            "logits": logits.numpy(),
            "distance": threat.distance(pixels, found).cpu().numpy().astype(np.float64),
        }
        return logits.numpy(), rows

    def _noise(self, clean: dict[int, np.ndarray]) -> None:
        done = self._read(NOISE)
        for unit in self._units([index for index in self.positions if index not in done]):
            before = self.passes.shown
            columns = measure_stability(
                self.logits_fn,
                self._pixels,
                torch.from_numpy(np.stack([clean[index] for index in unit])),
                indices=unit,
                seed=self.plan.seed,
                batch_size=self.plan.batch_size,
            )
            self.journal.add(NOISE, {"index": np.array(unit), **columns})
            self._finish(NOISE_PASSES * len(unit), before)

    def _finish(self, planned: float, shown_before: float) -> None:
        self.passes.finish(planned, shown_before)
        self.remaining.finish(planned, self.passes.left + self._sanity)

    def _sanity_passes(self, right: int) -> float:
        """Of the sanity checks, which one process makes alone, where its own images are right as often as all."""
        images = min(SANITY_IMAGES, len(self.labels)) * right / len(self.positions)
        known = square_is_known([attack.name for attack in self.attacks])
        return images * passes_per_image(self.passes.gradient_cost, square=not known)

    def _read(self, stage: str) -> dict[int, np.ndarray]:
        rows = self.journal.read(stage)
        if not rows:
            return {}
        at_hand = set(self.positions)
        values = rows.get("logits", rows["index"])
        return {index: value for index, value in zip(rows["index"].tolist(), values, strict=True) if index in at_hand}

    def _pixels(self, indices: Sequence[int]) -> Tensor:
        values = batch_of(self.dataset, indices)["pixel_values"]
        return self.pixel_space.recover(values.to(self.device))

    def _units(self, indices: list[int]) -> Iterator[list[int]]:
        size = -(-self.plan.batch_size // ROWS) * ROWS
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def finite(logits: Tensor) -> Tensor:
    """The logits in float32.

    Raises:
        ValueError: when they hold NaN or infinity.
    """
    if not torch.isfinite(logits).all():
        raise ValueError("the model's logits hold NaN or infinity, so no figure could be trusted; check its weights")
    return logits.float()
