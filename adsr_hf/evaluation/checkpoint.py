"""Evaluate a saved checkpoint on a data set that is described, not loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import PreTrainedModel

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.attacks.batch_invariance import row_independent
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.data import DataArguments, ImageClassificationDataset, load_measured_data
from adsr_hf.data.splits import quote_some
from adsr_hf.evaluation.model_files import MODEL_PATTERNS, ModelFilesError, model_files
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.provenance import Provenance
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.suite import evaluate
from adsr_hf.networks.class_names import match_names
from adsr_hf.networks.classifier import pixels_to_logits
from adsr_hf.networks.pretrained import PretrainedError, load_classifier, load_image_processor
from adsr_hf.networks.weights import TEACHER_FILE, load_raw_weights
from adsr_hf.records.durations import duration_in_words
from adsr_hf.records.machine import compute_device, process_state
from adsr_hf.records.run_record import RUN_RECORD, find_run_record, published_weights, read_run_record
from adsr_hf.settings.data import place_of
from adsr_hf.settings.evaluation import EvaluateArguments


def recorded_data(checkpoint: str) -> dict[str, Any]:
    """The data arguments of the run that wrote a checkpoint, but for extra images, which only training reads."""
    record = _run_record(checkpoint)
    data = {} if record is None else record["data"]
    return {name: value for name, value in data.items() if value is not None and not name.startswith("extra_")}


def recorded_threat(checkpoint: str) -> list[str]:
    """The threat model that a checkpoint was trained against.

    Raises:
        ValueError: when no run.json says so.
    """
    record = _run_record(checkpoint)
    if record is None:
        raise ValueError(
            f"threat is not given and {checkpoint} has no {RUN_RECORD} to take it from; name one, such as "
            "--threat 'Linf 8/255'"
        )
    return [f"{record['config']['norm']} {record['config']['epsilon']}"]


def weights_to_measure(checkpoint: str, requested: str) -> tuple[str, ...]:
    """``"published"``, ``"teacher"`` or both, in order; a teacher that is published is measured as what it is.

    Raises:
        ValueError: for both, where the teacher is published and the student's weights are not kept.
    """
    record = _run_record(checkpoint)
    if record is None or published_weights(record) == "student":
        return ("published", "teacher") if requested == "both" else (requested,)
    if requested == "both":
        raise ValueError(
            f"weights='both' needs two networks, but {checkpoint} was trained with publish: teacher: "
            "model.safetensors holds the teacher, and the student is not kept. Use --weights published"
        )
    return ("published",)


def evaluate_checkpoint(
    checkpoint: str,
    data: DataArguments,
    arguments: EvaluateArguments,
    *,
    weights: str,
    announce: Callable[[str], None],
    show_progress: bool = True,
) -> tuple[EvaluationRecords, Path]:
    """Load model, processor and images, measure them, and write the records.

    Args:
        checkpoint: a folder or a Hub name.
        weights: ``"published"`` or ``"teacher"``, see :func:`weights_to_measure`.
        announce: gets one line that says what will be measured and for about how long, one for each note, and one
            whenever it turns out to take much more or less time.
        show_progress: draw progress bars, in the first process.

    Returns:
        the records and their folder.

    Raises:
        ValueError: when the checkpoint cannot be loaded, or its labels are not the data set's.
    """
    plan = Plan(
        threats=[ThreatModel.parse(text) for text in arguments.threat],
        attacks=arguments.attacks,
        num_steps=arguments.attack_steps,
        restarts=arguments.attack_restarts,
        square_queries=arguments.square_queries,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        stability=arguments.stability,
        sanity=arguments.sanity,
    )
    folder = _output_folder(checkpoint, arguments.output_dir, weights)
    device = compute_device()
    record = _run_record(checkpoint)
    teacher = _teacher_file(checkpoint) if weights == "teacher" else None
    place, revision = _at_hand(checkpoint)
    files = _files_of(checkpoint, place)
    model, processor = _load(str(place))
    if _files_of(checkpoint, place) != files:
        raise ValueError(f"the model in {checkpoint} changed while it was loaded; wait until it is whole, then repeat")
    if teacher is not None:
        load_raw_weights(model, teacher)
    images = load_measured_data(
        data,
        processor,
        role="test" if arguments.split == "test" else "validation",
        trained_on=_was_trained_on(checkpoint, data),
        seed=arguments.seed,
        show_progress=show_progress and process_state().is_main_process,
    )
    class_names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    index = _model_classes(images.class_names, class_names)
    split = images.measured.with_classes(class_names, index)
    validation = None if images.validation is None else images.validation.with_classes(class_names, index)
    pixel_space = PixelSpace.from_processor(processor)

    said = False

    def say(seconds: float) -> None:
        nonlocal said
        if said:
            announce(f"  {duration_in_words(seconds)} left, by how long the work so far has taken")
            return
        said = True
        threats = ", ".join(map(str, plan.threats))
        whose = "" if teacher is None else " (teacher)"
        announce(
            f"{checkpoint}{whose} on {len(split)} {arguments.split} images ({images.summary}): clean"
            f"{', noise' if plan.stability else ''}, {' then '.join(plan.attacks)} against {threats}, "
            f"{process_state().num_processes} process(es) on {device.type}; "
            f"{duration_in_words(seconds)} if none falls early"
            f"{', sanity checks on 100 images included' if plan.sanity else ''}; to {folder}"
        )
        for note in images.notes + _absent(split):
            announce(f"  {note}")

    records = evaluate(
        model.to(device),
        split,
        plan,
        pixel_space=pixel_space,
        provenance=Provenance(
            model_source=checkpoint,
            revision=revision,
            model_files=files,
            weights="teacher" if teacher is not None else (published_weights(record) if record else None),
            published=teacher is None,
            data_source=data.dataset,
            split=arguments.split,
            drawn=data.max_eval_images,
            class_names=class_names,
            positive_class=arguments.positive_class,
        ),
        validation=validation,
        undefended=_undefended(arguments.undefended, device),
        folder=folder,
        announce=say,
        show_progress=show_progress,
    )
    return records, folder


def _at_hand(checkpoint: str) -> tuple[Path, str | None]:
    """The folder that a model is loaded from, and the commit of a Hub model, which is downloaded whole first."""
    if Path(checkpoint).is_dir():
        return Path(checkpoint), None
    try:
        folder = Path(snapshot_download(checkpoint, allow_patterns=list(MODEL_PATTERNS)))
    except (OSError, ValueError) as error:
        raise ValueError(f"checkpoint {checkpoint} cannot be had from the Hub: {error}") from error
    return folder, folder.name


def _files_of(checkpoint: str, place: Path) -> dict[str, str]:
    try:
        return model_files(place)
    except ModelFilesError as error:
        raise ValueError(
            f"checkpoint {checkpoint} cannot be measured, since what is loaded would not be known: {error}"
        ) from error


def _output_folder(checkpoint: str, requested: str | None, weights: str) -> Path:
    name = "evaluation" if weights == "published" else "evaluation-teacher"
    if requested is not None:
        return Path(requested) if weights == "published" else Path(f"{requested.rstrip('/')}-teacher")
    if not Path(checkpoint).is_dir():
        raise ValueError(
            f"output_dir is needed for {checkpoint}, which is no folder that records could be written into"
        )
    return Path(checkpoint) / name


def _teacher_file(checkpoint: str) -> Path:
    path = Path(checkpoint) / TEACHER_FILE
    if not path.is_file():
        raise ValueError(
            f"weights='teacher' needs {TEACHER_FILE} in {checkpoint}, and there is none: only a local folder of a run "
            "with adsr labels holds it. Use --weights published"
        )
    return path


def _undefended(checkpoint: str | None, device: torch.device) -> LogitsFunction | None:
    if checkpoint is None:
        return None
    model, processor = _load(checkpoint)
    model_names = PixelSpace.from_processor(processor)
    return row_independent(pixels_to_logits(model.to(device).eval(), model_names, model.config.num_labels))


def _run_record(checkpoint: str) -> dict[str, Any] | None:
    path = find_run_record(Path(checkpoint), Path(checkpoint).parent)
    return None if path is None else read_run_record(path)


def _load(checkpoint: str) -> tuple[PreTrainedModel, Any]:
    try:
        return load_classifier(checkpoint), load_image_processor(checkpoint)
    except PretrainedError as error:
        raise ValueError(f"checkpoint {checkpoint} cannot be loaded as an image classifier: {error}") from error


def _was_trained_on(checkpoint: str, data: DataArguments) -> bool:
    recorded = recorded_data(checkpoint).get("dataset")
    return recorded is not None and place_of(recorded) == place_of(data.dataset)


def _model_classes(class_names: list[str], model_names: list[str]) -> list[int]:
    """Where the model has each class of the data set: by name; where its classes have none, by position.

    Raises:
        ValueError: for a class that the model does not know.
    """
    if model_names == [f"LABEL_{index}" for index in range(len(model_names))] and len(model_names) == len(class_names):
        return list(range(len(model_names)))
    found = match_names(class_names, model_names)
    unknown = [name for name, index in zip(class_names, found, strict=True) if index is None]
    if unknown:
        raise ValueError(
            f"the data set has the classes {quote_some(unknown)}, which the model does not know; its classes are "
            f"{quote_some(model_names, limit=20)}: measure it on images of its own classes, or rename those of the "
            "data set"
        )
    return [index for index in found if index is not None]


def _absent(split: ImageClassificationDataset) -> list[str]:
    """A note that names the classes that nothing is said about."""
    counts = torch.bincount(split.labels, minlength=len(split.class_names)).tolist()
    absent = [name for name, count in zip(split.class_names, counts, strict=True) if count == 0]
    return [f"no image of {len(absent)} of the model's {len(counts)} classes: {quote_some(absent)}"] if absent else []
