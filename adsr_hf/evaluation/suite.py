"""Measure any image classifier: clean, and under attack at one or several radii. Outcomes are kept for each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import default_data_collator

from adsr_hf.attacks import PGD, PixelSpace, ThreatModel
from adsr_hf.attacks.isolation import under_attack
from adsr_hf.checkpoints import write_json
from adsr_hf.classifier import number_of_classes, pixels_to_logits
from adsr_hf.evaluation.accuracy import wilson_interval
from adsr_hf.evaluation.figures import adversarial_figures, clean_figures

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class UnderThreat:
    """Outcomes under one threat model.

    Attributes:
        threat: what the attacker could do.
        logits: (N, K), float32: on the worst image that was found.
        distances: (N,), float32: ‖δ‖ in the threat's norm.
    """

    threat: ThreatModel
    logits: Tensor
    distances: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Per-image outcomes, from which every figure is computed.

    Attributes:
        labels: (N,), int64.
        clean_logits: (N, K), float32.
        attacked: one entry for each threat model.
        settings: the attack's settings and the seed.
    """

    labels: Tensor
    clean_logits: Tensor
    attacked: tuple[UnderThreat, ...]
    settings: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Every figure as JSON values; accuracies with their Wilson 95% interval."""
        clean = clean_figures(self.clean_logits, self.labels)
        return {
            "schema_version": SCHEMA_VERSION,
            "images": len(self.labels),
            "settings": self.settings,
            "clean": self._with_interval(clean),
            "attacked": [
                {"threat": str(outcome.threat), "norm": outcome.threat.norm, "epsilon": outcome.threat.epsilon}
                | self._with_interval(adversarial_figures(outcome.logits, self.clean_logits, self.labels))
                for outcome in self.attacked
            ],
        }

    def write(self, folder: Path) -> None:
        """Write ``summary.json`` and ``records.parquet`` (a row for each image), each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        columns: dict[str, Any] = {"index": range(len(self.labels)), "label": self.labels.numpy()}
        columns |= _outcome_columns("clean", self.clean_logits)
        for outcome in self.attacked:
            name = str(outcome.threat)
            columns |= _outcome_columns(name, outcome.logits)
            columns[f"{name} distance"] = outcome.distances.numpy()
        partial = folder / ".records.parquet.partial"
        pyarrow.parquet.write_table(pyarrow.table(columns), partial)
        partial.replace(folder / "records.parquet")
        write_json(folder / "summary.json", self.summary())

    def _with_interval(self, figures: dict[str, float]) -> dict[str, Any]:
        total = len(self.labels)
        return figures | {"accuracy_interval": list(wilson_interval(round(figures["accuracy"] * total), total))}


def evaluate(
    model: nn.Module,
    dataset: Any,
    *,
    threats: Sequence[ThreatModel],
    pixel_space: PixelSpace,
    num_steps: int = 20,
    restarts: int = 1,
    batch_size: int = 100,
    seed: int = 0,
    show_progress: bool = True,
) -> Evaluation:
    """Attack every image with PGD inside each threat model, keeping the worst iterate of all restarts.

    Random starts are drawn for each image from (seed, its position), so that figures do not depend on ``batch_size``.

    Args:
        model: an image classifier, on the device to compute on; it is left as it was.
        dataset: items with ``pixel_values`` (C, H, W) and ``labels``, as Trainer takes.
        threats: one or several, for accuracy against epsilon.
        pixel_space: how the data set normalises pixels.
        num_steps, restarts: strength of the attack.
        seed: of the random starts.

    Raises:
        ValueError: when the data set is empty, its labels do not fit the model, or the logits hold NaN.
    """
    if len(dataset) == 0:
        raise ValueError("dataset is empty, so there is nothing to measure; name another split")
    num_classes = number_of_classes(model)
    device = next(model.parameters()).device
    logits_fn = pixels_to_logits(model, pixel_space, num_classes)
    attacks = [PGD(threat, num_steps=num_steps, restarts=restarts, keep="worst") for threat in threats]
    labels: list[Tensor] = []
    clean: list[Tensor] = []
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in attacks]
    batches = DataLoader(dataset, batch_size=batch_size, collate_fn=default_data_collator)
    with under_attack(model), tqdm(total=len(dataset), unit="image", disable=not show_progress) as progress:
        for batch in batches:
            first = sum(len(done) for done in labels)
            label = batch["labels"].to(device)
            _check_labels(label, num_classes)
            pixels = pixel_space.recover(batch["pixel_values"].to(device))
            with torch.no_grad():
                clean.append(_checked(logits_fn(pixels)).cpu())
            for attack, outcomes in zip(attacks, found, strict=True):
                generators = [_image_generator(seed, first + position) for position in range(len(label))]
                worst = attack.attack(logits_fn, pixels, label, generator=generators)
                with torch.no_grad():
                    logits = _checked(logits_fn(worst))
                outcomes.append((logits.cpu(), attack.threat.distance(pixels, worst).cpu()))
            labels.append(label.cpu())
            progress.update(len(label))
    attacked = tuple(
        UnderThreat(threat, torch.cat([one for one, _ in outcomes]), torch.cat([one for _, one in outcomes]))
        for threat, outcomes in zip(threats, found, strict=True)
    )
    settings = {"attack": "pgd", "num_steps": num_steps, "restarts": restarts, "seed": seed}
    return Evaluation(torch.cat(labels), torch.cat(clean), attacked, settings)


def _image_generator(seed: int, position: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed << 32) + position)


def _outcome_columns(name: str, logits: Tensor) -> dict[str, Any]:
    confidence, prediction = torch.softmax(logits.double(), dim=1).max(1)
    return {f"{name} prediction": prediction.numpy(), f"{name} confidence": confidence.numpy()}


def _checked(logits: Tensor) -> Tensor:
    if not torch.isfinite(logits).all():
        raise ValueError("the model's logits hold NaN or infinity, so no figure could be trusted; check its weights")
    return logits.float()


def _check_labels(labels: Tensor, num_classes: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels run from {low} to {high}, but the model has classes 0 to {num_classes - 1}; measure it on images "
            "of its own classes"
        )
