"""What a run says before it trains and after: what is trained, which weights are published and why, their figures."""

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from adsr_hf.config import ADSRConfig
from adsr_hf.data import ImageData
from adsr_hf.data.dataset import ImageClassificationDataset
from adsr_hf.measures.intervals import share_entry
from adsr_hf.measures.majority import majority_warning
from adsr_hf.networks.adapted import base_network, number_of_parameters
from adsr_hf.records.durations import duration_in_words
from adsr_hf.records.text_tables import as_text, quoted
from adsr_hf.runs.estimate import Workload
from adsr_hf.runs.linear_probe import LinearProbe
from adsr_hf.trainer import ADSRTrainer

# Columns of the closing table: heading, figure.
_COLUMNS = {
    "accuracy": "accuracy",
    "under attack": "robust_accuracy",
    "ECE": "ece",
    "ECE under attack": "robust_ece",
}


def workload_of(config: ADSRConfig, *, train: int, validation: int, test: int) -> Workload:
    """What one process has to do; an evaluation before the first step is not counted.

    Args:
        train, validation, test: number of images; 0 = there is no such split.
    """
    batch = config.train_batch_size * config.gradient_accumulation_steps * config.world_size
    per_epoch = math.ceil(train / batch)
    steps = config.max_steps if config.max_steps > 0 else math.ceil(per_epoch * config.num_train_epochs)
    strategy = config.eval_strategy.value
    every = {"no": 0, "epoch": per_epoch, "steps": _eval_steps(config, steps)}[strategy]
    # Calibration measures both splits before and after.
    final = test + (2 * (validation + test) if config.calibrate != "none" else 0)
    return Workload(
        steps=steps,
        images_in_step=batch / config.world_size,
        evaluate_every=every,
        evaluates_at_end=strategy == "epoch",
        validation_images=validation / config.world_size,
        final_images=final / config.world_size,
    )


def _eval_steps(config: ADSRConfig, steps: int) -> int:
    """Steps between evaluations; below 1 the setting is a share of the run."""
    given = float(config.eval_steps or steps)
    return max(1, math.ceil(given * steps) if given < 1 else int(given))


def first_lines(
    trainer: ADSRTrainer, data: ImageData, note: str, workload: Workload, *, seconds: float
) -> Iterator[str]:
    """What will be trained, on what, for how long, and which weights will be published.

    Args:
        note: where the network comes from.
        seconds: guessed for the whole run.
    """
    config = trainer.args
    attack = f" against {config.threat}, {str(config.training_attack).upper()}-{config.attack_steps}"
    attack = attack if config.attacks else ""
    recipe = f"{config.settled_objective} on {config.settled_labels} labels"
    parameters = number_of_parameters(trainer.model) / 1e6
    images = round(workload.images_in_step * config.world_size)
    yield (
        f"{recipe}{attack}: {note} ({parameters:.2f}M parameters) on {data.summary}; {workload.steps} steps of "
        f"{images} images, {config.world_size} process(es) on {config.device.type}; {duration_in_words(seconds)}; to "
        f"{config.output_dir}"
    )
    yield f"  published: {_weights(config.publish)} {_choice(config, workload)}"
    yield from (f"  {line}" for line in preset_lines(config))
    yield from (f"  {note}" for note in data.notes)


def preset_lines(config: ADSRConfig) -> Iterator[str]:
    """What a preset makes of the run, and why."""
    if config.preset is None:
        return
    if config.has_hinge and config.attacks:
        yield (
            f"preset {config.preset}: clean images for {config.epsilon_zero_share:.0%} of the run, then a radius that "
            f"rises to {config.epsilon:.4g} over {config.epsilon_ramp_share:.0%}, since a network that is not robust "
            "often fails to learn its task at the full radius from the first step (arXiv 2509.23325)"
        )
    rates = (
        f"learning rates fall by {config.layer_decay:g} a layer towards the input" if config.layer_decay < 1 else ""
    )
    calibration = "" if config.calibrate == "none" else f"published calibrated on {config.calibrate} images"
    rest = [part for part in (rates, calibration) if part]
    if rest:
        yield f"preset {config.preset}: {'; '.join(rest)}"


def probe_line(probe: LinearProbe | None) -> str:
    """What a linear probe of the checkpoint found, and what for."""
    if probe is None:
        return "no linear probe of the checkpoint: it has no single last layer, or there is one image a class"
    return (
        f"a linear classifier on the frozen checkpoint reaches {100 * probe.accuracy:.1f}% on {probe.held_out} "
        f"validation images; a run whose clean accuracy stays behind it is warned of"
    )


def _weights(publish: str) -> str:
    return "the teacher's weights (moving average)" if publish == "teacher" else "the student's weights"


def _choice(config: ADSRConfig, workload: Workload) -> str:
    if not config.load_best_model_at_end:
        return "after the last step, since load_best_model_at_end is off"
    extreme = "highest" if config.greater_is_better else "lowest"
    figure = str(config.metric_for_best_model).removeprefix("eval_")
    return f"of the step with the {extreme} {figure} on validation images, {workload.evaluations} evaluations"


def published(trainer: ADSRTrainer) -> dict[str, Any]:
    """Which weights a finished run publishes, as JSON values.

    Returns:
        ``weights`` (``"student"`` or ``"teacher"``), ``step`` that they are of, ``steps`` taken in all, and
        ``chosen_by``: None where they are the last ones, else ``figure``, its ``value`` at that step,
        ``greater_is_better``, the number of ``evaluations``, and ``best_step``, which is another one only where that
        was not saved.
    """
    args, state = trainer.args, trainer.state
    facts: dict[str, Any] = {"weights": args.publish, "step": state.global_step, "steps": state.global_step}
    if not args.load_best_model_at_end or state.best_model_checkpoint is None:
        return facts | {"chosen_by": None}
    figure = str(args.metric_for_best_model).removeprefix("eval_")
    step = int(str(state.best_model_checkpoint).rpartition("-")[2])
    values = {entry["step"]: entry[f"eval_{figure}"] for entry in state.log_history if f"eval_{figure}" in entry}
    best = max(values, key=lambda at: (values[at] if args.greater_is_better else -values[at], -at))
    chosen_by = {
        "figure": figure,
        "value": values[step],
        "greater_is_better": bool(args.greater_is_better),
        "evaluations": len(values),
        "best_step": best,
    }
    return facts | {"step": step, "chosen_by": chosen_by}


def closing_lines(trainer: ADSRTrainer, data: ImageData, record: Mapping[str, Any]) -> Iterator[str]:
    """What is published and why, what it reaches on the test images, and what to do next.

    Args:
        record: what run.json holds.
    """
    yield f"published: {_weights(record['published']['weights'])} {_reason(record['published'])}"
    if (record["calibration"] or {}).get("temperature") is not None:
        calibration = record["calibration"]
        yield (
            f"  calibrated on {calibration['images']} validation images ({calibration['fitted_on']}): the "
            f"{calibration['weights']}'s logits are divided by {calibration['temperature']:.3g}"
        )
    if data.test is not None:
        yield from _figures(record, data.test)
    else:
        yield "  no test split, so nothing was measured after training"
    kind = type(base_network(trainer.model).config)
    if kind.__module__.startswith("adsr_hf."):
        yield (
            f"  to load: `import adsr_hf.networks` first, since {kind.model_type} is no architecture of transformers"
        )
    split = "" if data.test is not None else " --split validation"
    yield f"next: adsr evaluate {shlex.quote(str(trainer.args.output_dir))}{split}"


def _reason(facts: Mapping[str, Any]) -> str:
    chosen_by = facts["chosen_by"]
    if chosen_by is None:
        return f"after the last step, {facts['steps']}"
    where = f"of step {facts['step']} of {facts['steps']}"
    extreme = "highest" if chosen_by["greater_is_better"] else "lowest"
    value, missed = _value(chosen_by["figure"], chosen_by["value"]), ""
    if chosen_by["best_step"] != facts["step"]:
        missed = f" that was saved (step {chosen_by['best_step']} was better, and is not among the checkpoints)"
    return f"{where}: {extreme} {chosen_by['figure']}, {value}, of {chosen_by['evaluations']} evaluations{missed}"


def _value(figure: str, value: float) -> str:
    return f"{100 * value:.1f}%" if figure.endswith(("accuracy", "ece", "mean_confidence")) else f"{value:.4g}"


def _figures(record: Mapping[str, Any], images: ImageClassificationDataset) -> Iterator[str]:
    test = record["test"]
    rows = [[f"{len(images)} test images", *_COLUMNS]]
    for prefix, weights in (("", "student"), ("teacher_", "teacher")):
        if f"test_{prefix}accuracy" not in test:
            continue
        mark = " (published)" if weights == record["published"]["weights"] else ""
        values = [test.get(f"test_{prefix}{figure}") for figure in _COLUMNS.values()]
        rows.append([weights + mark, *("" if value is None else f"{100 * value:.1f}%" for value in values)])
    majority, share = _majority(images)
    rows.append([f"always {quoted(majority)}", f"{100 * share:.1f}%", *[""] * (len(_COLUMNS) - 1)])
    yield from (f"  {line}" for line in as_text(rows).splitlines())
    if not any("(published)" in row[0] for row in rows):
        measured = record["config"]["evaluate_weights"]
        yield f"  not of the published weights, since evaluate_weights={measured!r}"
        return
    prefix = "test_teacher_" if record["published"]["weights"] == "teacher" else "test_"
    accuracies = {"clean": test[f"{prefix}accuracy"], "attack": test.get(f"{prefix}robust_accuracy")}
    not_beaten = [
        condition
        for condition, accuracy in accuracies.items()
        if accuracy is not None and share_entry(round(accuracy * len(images)), len(images))["interval"][0] <= share
    ]
    if not_beaten:
        yield f"  {majority_warning(majority, share, not_beaten)}"


def _majority(images: ImageClassificationDataset) -> tuple[str, float]:
    """The most frequent class, and its share."""
    counts = images.labels.bincount()
    return images.class_names[int(counts.argmax())], int(counts.max()) / len(images)
