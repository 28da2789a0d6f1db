"""Every figure of an evaluation, from its table alone."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from adsr_hf.evaluation.classes import class_figures
from adsr_hf.evaluation.figure_names import CLEAN, EXPECTED_ROBUSTNESS_FIGURES, attacked_name
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.stability import stability_figures
from adsr_hf.evaluation.vectors import figure_vector
from adsr_hf.measures.calibration import reliability_bins
from adsr_hf.measures.intervals import FigureEntry, Intervals
from adsr_hf.measures.statistics import RESAMPLES
from adsr_hf.measures.temperature import fit_temperature


def figures_of(records: EvaluationRecords, seed: int, *, resamples: int | None = RESAMPLES) -> dict[str, FigureEntry]:
    """Figure name to value, 95% interval and number of images.

    Clean: ``accuracy`` and the calibration figures. For each threat T: ``T/robust_accuracy`` (right clean and under
    every attack), ``T/A/robust_accuracy`` (under attack A and those before it), and ``T/robust_ece`` and the other
    calibration figures on the worst images found, each with ``robust_`` before its name. Where several radii of a norm
    N were measured, ``N/expected_robustness``: see :func:`adsr_hf.evaluation.vectors.expected_robustness`. Noise: see
    :func:`adsr_hf.evaluation.stability.stability_figures`. Class by class: see
    :func:`adsr_hf.evaluation.classes.class_figures`.

    Args:
        records: of whose summary only what describes the evaluation is read.
        seed, resamples: of the bootstrap, on which the intervals of means alone depend; without resamples (None)
            these are None.
    """
    intervals = Intervals(records.images, seed, resamples=resamples)
    labels = records.labels
    figures = {"accuracy": intervals.share(_vector(records, "accuracy"))}
    figures |= intervals.calibration(records.logits("clean"), labels)
    for threat in records.threats:
        names = [f"{threat}/robust_accuracy", *(f"{threat}/{attack}/robust_accuracy" for attack in records.attacks)]
        figures |= {name: intervals.share(_vector(records, name)) for name in names}
        calibration = intervals.calibration(records.logits(f"{threat}.worst"), labels)
        figures |= {attacked_name(name, threat): entry for name, entry in calibration.items()}
    for name in EXPECTED_ROBUSTNESS_FIGURES:
        vector = figure_vector(records, name)
        if vector is not None:
            figures[name] = intervals.mean(vector)
    return figures | class_figures(records) | _noise_figures(records, intervals)


def _vector(records: EvaluationRecords, name: str) -> np.ndarray:
    vector = figure_vector(records, name)
    assert vector is not None
    return vector


def _noise_figures(records: EvaluationRecords, intervals: Intervals) -> dict[str, FigureEntry]:
    columns = {name: records.column(name) for name in records.table.column_names if name.startswith("noise.")}
    vectors = stability_figures(columns, records.labels, records.column("clean.prediction"))
    return {
        name: intervals.share(vector) if np.isin(vector, (0, 1)).all() else intervals.mean(vector)
        for name, vector in vectors.items()
    }


def reliability_of(records: EvaluationRecords) -> dict[str, list[dict[str, Any]]]:
    """Bins of the reliability diagram, clean and under each threat; empty bins hold None."""
    conditions = {CLEAN: "clean"} | {threat: f"{threat}.worst" for threat in records.threats}
    labels = torch.from_numpy(records.labels)
    result = {}
    for name, condition in conditions.items():
        probabilities = torch.softmax(torch.from_numpy(records.logits(condition).copy()).double(), dim=1)
        rows = [asdict(bin_) for bin_ in reliability_bins(probabilities, labels)]
        result[name] = [{key: None if value != value else value for key, value in row.items()} for row in rows]
    return result


def temperature_of(
    records: EvaluationRecords, held_out_logits: torch.Tensor, held_out_labels: torch.Tensor, seed: int
) -> tuple[dict[str, Any], FigureEntry]:
    """The temperature that held-out images ask for, and ECE on the measured images after it.

    Args:
        held_out_logits: (M, K), float, of validation images.
        held_out_labels: (M,), int64.
    """
    temperature = fit_temperature(held_out_logits, held_out_labels)
    entry = temperature_entry(records, temperature, Intervals(records.images, seed))
    return {"value": temperature, "fitted_on": "validation", "images": len(held_out_labels)}, entry


def temperature_entry(records: EvaluationRecords, temperature: float, intervals: Intervals) -> FigureEntry:
    """ECE on the measured images after their logits are divided by ``temperature``."""
    logits = records.logits("clean").astype(np.float64) / temperature
    return intervals.calibration(logits, records.labels)["ece"]
