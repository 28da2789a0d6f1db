"""Training the runs and attacking what came out, in pieces that a later command continues."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.data import DataArguments, ImageClassificationDataset, load_image_data
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.provenance import Provenance
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import SUMMARY_FILE, EvaluationRecords
from adsr_hf.evaluation.suite import evaluate
from adsr_hf.networks.pretrained import load_classifier
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.records.files import write_json
from adsr_hf.records.machine import compute_device
from adsr_hf.runs.model import load_processor
from adsr_hf.runs.recipe import recipe_from_settings
from adsr_hf.runs.train import train_recipe
from adsr_hf.settings.model import ModelArguments
from adsr_hf.training.checkpoints import MANIFEST_FILE
from benchmarks.paper_table.settings import PGD_STEPS, ROWS, THREAT, Sizes, run_settings

FINISHED_FILE = "finished.json"
_WEIGHTS = ("student", "teacher")
_BATCH = 256


def train_run(folder: Path, network: str, run: str, *, epochs: int, data: str, sizes: Sizes) -> None:
    """Train one run, or continue it; what is finished is left alone."""
    if (folder / FINISHED_FILE).is_file():
        return
    settings = run_settings(network, run, epochs=epochs, data=data, sizes=sizes) | {"output_dir": str(folder)}
    if any((checkpoint / MANIFEST_FILE).is_file() for checkpoint in checkpoint_folders(folder)):
        settings["resume_from_checkpoint"] = "true"
    elif folder.exists():
        # Stopped before its first checkpoint.
        shutil.rmtree(folder)
    recipe = recipe_from_settings(settings)
    done = train_recipe(recipe.config, recipe.data, recipe.model)
    assert done.trainer.teacher is not None
    for name, network_ in zip(_WEIGHTS, (done.trainer.model, done.trainer.teacher.model), strict=True):
        network_.save_pretrained(folder / name)
    speeds = [entry["images_per_second"] for entry in done.record["log_history"] if "images_per_second" in entry]
    facts = {
        "robust_overfitting": done.record["robust_overfitting"],
        "images_per_second": sorted(speeds)[len(speeds) // 2],
        "zero_gradient_share": max(
            entry["zero_gradient_share"] for entry in done.record["log_history"] if "zero_gradient_share" in entry
        ),
        "images": done.record["images"],
    }
    write_json(folder / FINISHED_FILE, facts)


@cache
def test_images(data: str) -> ImageClassificationDataset:
    """The test split of a data set, in its order, for 32 px networks from scratch.

    Raises:
        ValueError: when it has none.
    """
    processor = load_processor(ModelArguments(model_type="vit", image_size=32))
    found = load_image_data(DataArguments(dataset=data), processor, seed=0, show_progress=False).test
    if found is None:
        raise ValueError(f"test data {data} have no test split; name a data set that has one")
    return found


def parts(images: int, size: int) -> list[range]:
    """Positions cut into parts of ``size``, the last one shorter."""
    return [range(start, min(start + size, images)) for start in range(0, images, size)]


def row_folder(folder: Path, row: str, what: str) -> Path:
    """Where the records of one row lie: of ``"pgd"``, or of a part such as ``"autoattack-0"``."""
    run, weights = ROWS[row]
    return folder / run / f"measured-{weights}" / what


def measure_row(folder: Path, row: str, what: str, images: ImageClassificationDataset, **plan: Any) -> None:
    """Attack one row's network on some images, or continue; what is finished is left alone.

    Args:
        folder: of the network's runs.
        images: the test set; ``plan["positions"]`` says which of them, and the rest goes to Plan.
    """
    target = row_folder(folder, row, what)
    if (target / SUMMARY_FILE).is_file():
        return
    run, weights = ROWS[row]
    source = folder / run / weights
    model = load_classifier(source)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    if names != images.class_names:
        raise ValueError(f"the network's classes {names} are not the test set's {images.class_names}; name another")
    device = compute_device()
    positions = plan.pop("positions")
    evaluate(
        model.to(device),
        Subset(images, positions),
        Plan([ThreatModel.parse(THREAT)], batch_size=_BATCH, **plan),
        pixel_space=PixelSpace.from_processor(load_processor(ModelArguments(model_type="vit", image_size=32))),
        provenance=Provenance(str(source), weights=weights, class_names=names),
        folder=target,
        show_progress=False,
    )


def measure_pgd(folder: Path, row: str, images: ImageClassificationDataset, sizes: Sizes) -> None:
    """PGD-20 on every test image: an upper bound that is there early."""
    positions = range(min(sizes.images, len(images)))
    measure_row(folder, row, "pgd", images, positions=positions, attacks=("pgd",), num_steps=PGD_STEPS)


def measure_part(
    folder: Path, row: str, images: ImageClassificationDataset, number: int, positions: range, sizes: Sizes
) -> None:
    """AutoAttack on one part of the test images."""
    measure_row(folder, row, f"autoattack-{number}", images, positions=positions, attacks=sizes.attacks)


def read_row(folder: Path, row: str, what: str) -> EvaluationRecords | None:
    """One row's records, where they are finished."""
    target = row_folder(folder, row, what)
    return read_evaluation(target) if (target / SUMMARY_FILE).is_file() else None
