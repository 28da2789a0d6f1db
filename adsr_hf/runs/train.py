"""One run from its description: data, network, training, the test split's figures, and a record of it all."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adsr_hf.config import ADSRConfig
from adsr_hf.data import DataArguments, ImageData, load_image_data
from adsr_hf.data.extra.mixed import MixedDataset
from adsr_hf.measures.overfitting import robust_overfitting_of_networks
from adsr_hf.networks.adapted import merged_copy
from adsr_hf.networks.weights import TEACHER_FILE, save_tensors
from adsr_hf.publishing.card_facts import DataDescription, hub_name
from adsr_hf.publishing.fitting import CalibrationError
from adsr_hf.records.files import write_json
from adsr_hf.records.folder_lock import own_folder
from adsr_hf.records.machine import package_versions, process_state
from adsr_hf.records.run_record import RUN_RECORD
from adsr_hf.runs.estimate import guessed_speed
from adsr_hf.runs.health import RunHealth
from adsr_hf.runs.linear_probe import LinearProbe, probe_checkpoint
from adsr_hf.runs.log import RunLog, RunProgress
from adsr_hf.runs.model import load_model, load_processor
from adsr_hf.runs.summary import closing_lines, first_lines, probe_line, published, workload_of
from adsr_hf.settings.model import ModelArguments
from adsr_hf.trainer import ADSRTrainer
from adsr_hf.training.run_folder import RunFolder, find_checkpoint, refuse_used_folder

# What a finished run leaves, beside its checkpoints.
_RESULTS = (RUN_RECORD, "model.safetensors")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        trainer: with the final weights: the best ones with ``load_best_model_at_end``.
        data: what it was trained and measured on.
        record: what run.json holds.
    """

    trainer: ADSRTrainer
    data: ImageData
    record: dict[str, Any]


def train_recipe(
    config: ADSRConfig,
    data_arguments: DataArguments,
    model_arguments: ModelArguments,
    *,
    report: Callable[[RunProgress], None] | None = None,
) -> Run:
    """Train as described, measure the test split once with the final weights, and save an ordinary checkpoint.

    ``output_dir`` gets the checkpoint, the processor and ``run.json``: settings, versions, which weights are published
    and why, the validation figures of the best and the last evaluation, and the test figures.

    Args:
        report: is told how far the run has come, in the first process.

    Raises:
        CheckpointError: when the run cannot be continued from what is asked for.
        FileExistsError: when ``output_dir`` holds another run and nothing says to continue it.
        FolderInUseError: when another process trains in ``output_dir``.
        ValueError: for data, a model or settings that do not go together.
    """
    resume = _checkpoint_to_continue(config)
    if not torch.accelerator.is_available():
        config.dataloader_pin_memory = False
    is_main = config.process_index == 0
    processor = load_processor(model_arguments)
    data = load_image_data(data_arguments, processor, seed=config.seed, show_progress=is_main)
    torch.manual_seed(config.seed)
    network = load_model(model_arguments, data.class_names)
    trainer = ADSRTrainer(
        network.model,
        config,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=processor,
    )
    trainer.data_description = DataDescription(
        name=Path(data_arguments.dataset).absolute().name,
        summary=data.summary.partition(": ")[2],
        hub_name=hub_name(data_arguments.dataset),
        config=data_arguments.dataset_config,
    )
    trainer.run.data_settings = data_arguments.training_settings() | {"train_images": len(data.train)}
    sizes = {name: len(split) if split is not None else 0 for name, split in _all_splits(data).items()}
    workload = workload_of(config, **sizes)
    first_batch = data.train.pixels(range(min(config.train_batch_size, len(data.train))))
    guess = guessed_speed(trainer.model, config, trainer.pixel_space, first_batch)
    RunLog.install(trainer, RunLog(workload, guess, bar=not config.disable_tqdm, report=report))
    if is_main:
        for line in first_lines(trainer, data, network.note, workload, seconds=workload.seconds(guess)):
            print(line, flush=True)
    probe = _probe(trainer, data, model_arguments)
    health = _watch(trainer, data, probe, stop=model_arguments.stop_hopeless)
    with own_folder(Path(config.output_dir), "adsr train", process_state()):
        if resume is None:
            # Another one may have been faster, while data and network were loaded.
            _refuse_used_folder(config)
        described = asdict(data_arguments), asdict(model_arguments)
        record = _train_and_record(trainer, data, described, resume, probe=probe, health=health)
    if is_main:
        for line in closing_lines(trainer, data, record):
            print(line, flush=True)
    return Run(trainer, data, record)


def _train_and_record(
    trainer: ADSRTrainer,
    data: ImageData,
    described: tuple[dict[str, Any], dict[str, Any]],
    resume: Path | None,
    *,
    probe: LinearProbe | None,
    health: RunHealth | None,
) -> dict[str, Any]:
    config = trainer.args
    is_main = config.process_index == 0
    output = trainer.train(str(resume) if resume is not None else None)
    calibration = _calibration(trainer, data)
    test_figures = trainer.evaluate(data.test, metric_key_prefix="test") if data.test is not None else {}
    # Not pushed before everything is written: the Hub may be out of reach.
    trainer.save_model(_internal_call=True)
    record = {
        "schema_version": 1,
        "config": config.to_dict(),
        "data": described[0],
        "model": described[1],
        "data_summary": data.summary_parts,
        "images": {name: len(split) for name, split in _splits(data).items()},
        "training": output.metrics,
        "changes_on_resuming": trainer.run.identity.changes,
        "published": published(trainer),
        "robust_overfitting": robust_overfitting_of_networks(trainer.state.log_history),
        "linear_probe": None if probe is None else asdict(probe),
        "warnings": [] if health is None else health.record(),
        "calibration": calibration,
        "test": test_figures,
        "log_history": trainer.state.log_history,
        "versions": package_versions(),
    }
    if is_main:
        write_json(Path(config.output_dir) / RUN_RECORD, record)
    if config.push_to_hub:
        trainer.push_to_hub()
    if is_main and trainer.teacher is not None:
        # After the upload, which it would double: for `adsr evaluate --weights teacher` alone.
        whole = merged_copy(trainer.teacher.model).state_dict()
        save_tensors(Path(config.output_dir) / TEACHER_FILE, whole)
    return record


def _probe(trainer: ADSRTrainer, data: ImageData, arguments: ModelArguments) -> LinearProbe | None:
    """What the checkpoint is worth before it is attacked; None where nothing was pretrained, or is held out."""
    if arguments.model is None or data.validation is None or not trainer.args.attacks:
        return None
    train = data.train.base if isinstance(data.train, MixedDataset) else data.train
    probe = probe_checkpoint(trainer.model, train, data.validation, trainer.pixel_space)
    if trainer.is_world_process_zero():
        print(f"  {probe_line(probe)}", flush=True)
    return probe


def _watch(trainer: ADSRTrainer, data: ImageData, probe: LinearProbe | None, *, stop: bool) -> RunHealth | None:
    if data.validation is None or len(data.validation) == 0:
        return None
    health = RunHealth(
        trainer.args,
        images=len(data.validation),
        majority=int(data.validation.labels.bincount().max()) / len(data.validation),
        probe=None if probe is None else probe.accuracy,
        stop=stop,
    )
    trainer.add_callback(health)
    return health


def _calibration(trainer: ADSRTrainer, data: ImageData) -> dict[str, Any] | None:
    """What trainer.calibrate() returned; or why no temperature fits, and the run is published as it was trained."""
    if trainer.args.calibrate == "none":
        return None
    try:
        return trainer.calibrate(test_dataset=data.test)
    except CalibrationError as error:
        if trainer.is_world_process_zero():
            print(f"  not calibrated: {error}", flush=True)
        return {"refused": error.reason}


def _checkpoint_to_continue(config: ADSRConfig) -> Path | None:
    """What to continue; None where a run may start."""
    requested = str(config.resume_from_checkpoint or "no")
    if requested.lower() in ("false", "no"):
        _refuse_used_folder(config)
        return None
    newest = requested.lower() in ("true", "yes", "last")
    return find_checkpoint(Path(config.output_dir), True if newest else requested, results=_RESULTS)


def way_on_after_stopping(config: ADSRConfig) -> str:
    """What to do with a run that was stopped without a checkpoint of the moment."""
    folder = RunFolder.read(Path(config.output_dir), _RESULTS)
    if folder.newest is None and not folder.unusable and not folder.results:
        return "nothing was saved, and the same command starts again"
    return folder.way_on


def _refuse_used_folder(config: ADSRConfig) -> None:
    refuse_used_folder(Path(config.output_dir), results=_RESULTS)


def _all_splits(data: ImageData) -> dict[str, Any]:
    return {"train": data.train, "validation": data.validation, "test": data.test}


def _splits(data: ImageData) -> dict[str, Any]:
    return {name: split for name, split in _all_splits(data).items() if split is not None}
