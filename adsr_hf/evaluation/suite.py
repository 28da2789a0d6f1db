"""Measure any image classifier: clean, under attack at one or several radii, under noise. Every image is on record."""

import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adsr_hf.attacks import PixelSpace
from adsr_hf.attacks.batch_invariance import ROWS, row_independent
from adsr_hf.attacks.frozen import under_attack
from adsr_hf.attacks.gradient_path import has_gradient_path, with_gradient_path
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.attacks.registry import named_attacks
from adsr_hf.evaluation.checks import (
    check_class_names,
    check_labels,
    finished_work_named,
    memory_named,
    refuse_probabilities,
)
from adsr_hf.evaluation.classes import class_notes, confusion_of, majority_of
from adsr_hf.evaluation.description import describe_evaluation
from adsr_hf.evaluation.driver import SHOWN, Driver, finite
from adsr_hf.evaluation.examples import write_examples
from adsr_hf.evaluation.fingerprints import DataFacts, batch_of, data_facts
from adsr_hf.evaluation.journal import Journal
from adsr_hf.evaluation.journal_key import journal_key
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.progress import Passes
from adsr_hf.evaluation.provenance import Provenance
from adsr_hf.evaluation.record_table import record_table
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.remaining_time import RemainingTime
from adsr_hf.evaluation.sanity import sanity_positions, square_is_known, verdicts
from adsr_hf.evaluation.streams import as_sized
from adsr_hf.evaluation.summary import figures_of, reliability_of, temperature_of
from adsr_hf.networks.classifier import number_of_classes, pixels_to_logits
from adsr_hf.networks.normalisation import LOOKED_AT, NormalisationCheck
from adsr_hf.records.folder_lock import own_folder
from adsr_hf.records.machine import process_state
from adsr_hf.records.sentences import sentence, worded


def evaluate(
    model: nn.Module,
    dataset: Any,
    plan: Plan,
    *,
    pixel_space: PixelSpace,
    provenance: Provenance | None = None,
    validation: Any = None,
    undefended: LogitsFunction | None = None,
    folder: Path | None = None,
    announce: Callable[[float], None] | None = None,
    show_progress: bool = True,
) -> EvaluationRecords:
    """Attack every image inside each threat model and keep the worst outcome, image by image.

    Outcomes depend on (seed, position) alone: neither on ``batch_size`` nor on the number of processes. With a
    ``folder`` the records are written there, and a run that was killed continues where it was.

    Args:
        model: an image classifier, on the device to compute on; it is left as it was.
        dataset: items with ``pixel_values`` (C, H, W) and ``labels``, as Trainer takes; the same at every access. A
            stream is read once into memory.
        plan: threats, attacks and their strength.
        pixel_space: how the data set normalises pixels.
        provenance: names for the records.
        validation: held-out items, for the one temperature that is reported as an extra.
        undefended: pixels to logits of an undefended model of the same family, for a sanity verdict.
        folder: for records, examples and the journal; needed with several processes.
        announce: gets the seconds that are left, after the clean pass and before the attacks, sanity checks included;
            and again whenever the work done so far shows that they are far off.

    Warns:
        UserWarning: when the model cuts the gradient to its input, so that attacks that follow it find nothing; a note
            in the summary says so too, and the sanity verdicts fail.

    Returns:
        the records; in other processes than the first without examples, sanity verdicts and latency.

    Raises:
        ValueError: when the data set is empty, its labels or class names do not fit the model, or the model's
            outputs are probabilities, or not finite.
        FolderInUseError: when another process evaluates into ``folder``.
        ImportError: when an attack's package is not installed.
        MemoryError: when a batch does not fit; with what to lower.

    Example:
        >>> from adsr_hf.attacks import PixelSpace, ThreatModel
        >>> from transformers import ResNetConfig, ResNetForImageClassification
        >>> model = ResNetForImageClassification(ResNetConfig(hidden_sizes=[8], depths=[1], num_labels=2))
        >>> rows = [{"pixel_values": torch.rand(3, 32, 32), "labels": index % 2} for index in range(4)]
        >>> plan = Plan([ThreatModel.parse("Linf 0.1")], num_steps=2)
        >>> records = evaluate(model, rows, plan, pixel_space=PixelSpace((0.0,), (1.0,)), show_progress=False)
        >>> records.images, records.threats
        (4, ['Linf 0.1'])
    """
    started = time.perf_counter()
    dataset = as_sized(dataset, "dataset")
    validation = None if validation is None else as_sized(validation, "validation")
    if len(dataset) == 0:
        raise ValueError("dataset is empty, so there is nothing to measure; name another split")
    state = process_state()
    if state.num_processes > 1 and folder is None:
        raise ValueError(f"folder=None does not go with {state.num_processes} processes, which meet there; give one")
    provenance = provenance or Provenance()
    num_classes = number_of_classes(model)
    attacks = named_attacks(
        plan.attacks,
        num_classes=num_classes,
        num_steps=plan.num_steps,
        restarts=plan.restarts,
        square_queries=plan.square_queries,
    )
    names = list(provenance.class_names or (str(index) for index in range(num_classes)))
    check_class_names(names, num_classes, provenance.positive_class)
    facts = data_facts(dataset)
    check_labels(facts.labels, num_classes)
    device = next(model.parameters()).device
    described = describe_evaluation(model, facts, plan, attacks, provenance, names)
    owned = nullcontext() if folder is None else own_folder(folder, "adsr evaluate", state)
    with owned, finished_work_named(folder), under_attack(model), memory_named(plan), torch.inference_mode(False):
        journal = Journal(folder, _journal_key(model, described, facts, pixel_space))
        passes = Passes(show=show_progress and state.is_main_process)
        bare = pixels_to_logits(model, pixel_space, num_classes)
        plain = row_independent(with_gradient_path(bare))
        _check_inputs(dataset, pixel_space)
        first = pixel_space.recover(batch_of(dataset, [0])["pixel_values"].to(device))
        refuse_probabilities(plain(first))
        if not has_gradient_path(bare, first):
            described["notes"].append(sentence("note.no_gradient"))
            if state.is_main_process:
                warnings.warn(worded(described["notes"][-1]), stacklevel=2)
        driver = Driver(
            plan=plan,
            dataset=dataset,
            labels=facts.labels,
            pixel_space=pixel_space,
            logits_fn=passes.counted(plain),
            attacks=attacks,
            journal=journal,
            positions=range(state.process_index, len(dataset), state.num_processes),
            device=device,
            passes=passes,
            remaining=RemainingTime(announce if announce is not None and state.is_main_process else _say_nothing),
        )
        driver.run()
        passes.close()
        state.wait_for_everyone()
        table = record_table(journal, facts.labels.numpy(), plan.threats, attacks)
        # The first process removes the journal when it is done.
        state.wait_for_everyone()
        records = EvaluationRecords(described, table)
        described["figures"] = figures_of(records, plan.seed)
        described["reliability"] = reliability_of(records)
        described["confusion"] = confusion_of(records)
        described["majority"] = majority_of(records)
        described["notes"] += class_notes(records)
        described["temperature"] = None
        if validation is not None:
            held_out, labels = _logits_of(validation, plain, pixel_space, device)
            described["temperature"], entry = temperature_of(records, held_out, labels, plan.seed)
            described["figures"]["ece_after_temperature"] = entry
        if state.is_main_process:
            _measure_the_rest(records, driver, model, undefended, folder, plain, show_progress=show_progress)
            described["seconds"] = time.perf_counter() - started
            if folder is not None:
                records.write(folder)
                journal.remove()
        state.wait_for_everyone()
    return records


def _journal_key(
    model: nn.Module, described: dict[str, Any], facts: DataFacts, pixel_space: PixelSpace
) -> dict[str, Any]:
    return journal_key(
        model,
        described["model"]["fingerprint"],
        facts,
        pixel_space,
        threats=described["threats"],
        attacks=described["attacks"],
        seed=described["seed"],
        versions=described["versions"],
    )


def _measure_the_rest(
    records: EvaluationRecords,
    driver: Driver,
    model: nn.Module,
    undefended: LogitsFunction | None,
    folder: Path | None,
    logits_fn: LogitsFunction,
    *,
    show_progress: bool,
) -> None:
    """What one process does alone: examples, sanity verdicts, latency."""
    plan, summary = driver.plan, records.summary
    shown = driver.journal.read(SHOWN)
    if folder is not None and shown:
        pixels, labels = _images(driver, shown["index"].tolist())
        summary["examples"] = write_examples(
            folder, shown, pixels, labels, threat=plan.threats[0], logits_fn=logits_fn
        )
        if not summary["examples"]:
            summary["notes"].append(sentence("note.no_example", threat=str(plan.threats[0])))
    if plan.sanity:
        pixels, labels = _images(driver, sanity_positions(len(driver.dataset), seed=plan.seed))
        found = verdicts(
            model,
            driver.pixel_space,
            pixels,
            labels,
            threat=plan.threats[0],
            seed=plan.seed,
            undefended=undefended,
            only_square=_only_square(records),
            batch_size=plan.batch_size,
            show_progress=show_progress,
        )
        summary["sanity"] = [entry.as_dict() for entry in found]
    pixels, _ = _images(driver, [0])
    summary["latency"] = _latency(logits_fn, pixels)


def _check_inputs(dataset: Any, pixel_space: PixelSpace) -> None:
    """Images from all over the data set, which is often sorted by class."""
    positions = range(0, len(dataset), max(1, len(dataset) // LOOKED_AT))[:LOOKED_AT]
    check = NormalisationCheck(pixel_space)
    for start in range(0, len(positions), ROWS):
        values = batch_of(dataset, positions[start : start + ROWS])["pixel_values"]
        pixel_space.recover(values)
        check.look(values)


def _images(driver: Driver, positions: list[int]) -> tuple[Tensor, Tensor]:
    batch = batch_of(driver.dataset, positions)
    pixels = driver.pixel_space.recover(batch["pixel_values"].to(driver.device))
    return pixels, batch["labels"].to(torch.int64).to(driver.device)


def _logits_of(
    dataset: Any, logits_fn: LogitsFunction, pixel_space: PixelSpace, device: torch.device
) -> tuple[Tensor, Tensor]:
    logits, labels = [], []
    for start in range(0, len(dataset), 2 * ROWS):
        batch = batch_of(dataset, range(start, min(start + 2 * ROWS, len(dataset))))
        with torch.no_grad():
            pixels = pixel_space.recover(batch["pixel_values"].to(device))
            logits.append(finite(logits_fn(pixels)).cpu())
        labels.append(batch["labels"].to(torch.int64))
    return torch.cat(logits), torch.cat(labels)


def _only_square(records: EvaluationRecords) -> tuple[int, int] | None:
    """Images that stood against every white-box attack and fell to Square, and how many were attacked."""
    if not square_is_known(records.attacks):
        return None
    broken_by = records.table.column(f"{records.threats[0]}.broken_by").to_pylist()
    return broken_by.count("square"), len(broken_by) - broken_by.count("clean")


def _latency(logits_fn: LogitsFunction, pixels: Tensor) -> dict[str, float]:
    """Median time of a forward pass on a block of images."""
    block = pixels.expand(ROWS, *pixels.shape[1:]).contiguous()
    taken = []
    for _ in range(12):
        started = time.perf_counter()
        with torch.no_grad():
            logits_fn(block).sum().item()
        taken.append(time.perf_counter() - started)
    return {"milliseconds_per_image": 1000 * statistics.median(taken[2:]) / ROWS, "batch_size": ROWS}


def _say_nothing(seconds: float) -> None:
    del seconds
