"""How honest the first line of ``adsr evaluate`` is: the time it says against the time it takes.

Trains a small vision transformer on steel photographs of 128 px and attacks its 276 test images by PGD-20 at three
radii, as ``adsr evaluate`` would.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Report, Spread, Target, argument_parser, run

DATA = "../shared/data/xsdd-steel-eq"
THREATS = ["Linf 1/255", "Linf 2/255", "Linf 4/255"]
LIMIT = 1.5

RECIPE: dict[str, Any] = {
    "method": "clean",
    "epsilon": "4/255",
    "eval_attack_steps": 0,
    "validation_fraction": 0.1,
    "model_type": "vit",
    "image_size": 128,
    "model_config": {
        "patch_size": 16,
        "hidden_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "intermediate_size": 192,
        "initializer_range": 0.06,
    },
    "num_train_epochs": 8,
    "per_device_train_batch_size": 32,
    "learning_rate": 0.001,
    "warmup_steps": 0.1,
    "eval_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and, with ``--output``, write; returns the record."""
    parser = argument_parser(__doc__, repeats=3)
    parser.add_argument("--data", default=DATA, help="images as `adsr train --dataset` takes them")
    return run(benchmark, parser.parse_args(argv))


def benchmark(arguments: argparse.Namespace) -> Report:
    """Train once; evaluate as often as asked, each time into a new folder."""
    from adsr_hf.data import DataArguments
    from adsr_hf.runs.recipe import recipe_from_settings
    from adsr_hf.runs.train import train_recipe

    images = 20 if arguments.smoke else None
    said, taken = [], []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model"
        settings = RECIPE | {"dataset": arguments.data, "seed": arguments.seed}
        settings |= {"max_steps": 2, "image_size": 32} if arguments.smoke else {}
        recipe = recipe_from_settings(settings | {"output_dir": str(checkpoint)})
        train_recipe(recipe.config, recipe.data, recipe.model)
        for repeat in range(arguments.repeats):
            data = DataArguments(dataset=arguments.data, max_eval_images=images)
            estimate, seconds = _evaluate(checkpoint, data, Path(folder) / f"evaluation-{repeat}", arguments.seed)
            said.append(estimate)
            taken.append(seconds)
    ratio = Spread.of([second / first for first, second in zip(said, taken, strict=True)])
    return Report(
        benchmark="evaluation_estimate",
        seed=arguments.seed,
        settings={"recipe": settings, "threats": THREATS, "attack": "pgd, 20 steps", "repeats": arguments.repeats},
        unit="s",
        raw={"said": said, "taken": taken},
        ratios={"taken / said": ratio},
        targets=[
            Target("it takes at most 1.5 of the time it says", max(ratio.values), LIMIT),
            Target("it says at most 1.5 of the time it takes", 1 / min(ratio.values), LIMIT),
        ],
    )


def _evaluate(checkpoint: Path, data: Any, folder: Path, seed: int) -> tuple[float, float]:
    """Seconds that were announced, and those that passed from there to the records."""
    from adsr_hf.attacks import PixelSpace, ThreatModel
    from adsr_hf.data import load_image_data
    from adsr_hf.evaluation import evaluate
    from adsr_hf.evaluation.plan import Plan
    from adsr_hf.networks.pretrained import load_classifier, load_image_processor

    processor = load_image_processor(checkpoint)
    test = load_image_data(data, processor, seed=seed).test
    assert test is not None
    announced: list[tuple[float, float]] = []
    plan = Plan(threats=[ThreatModel.parse(text) for text in THREATS], attacks=["pgd"], num_steps=20, seed=seed)
    evaluate(
        load_classifier(checkpoint),
        test,
        plan,
        pixel_space=PixelSpace.from_processor(processor),
        folder=folder,
        announce=lambda seconds: announced.append((seconds, time.perf_counter())),
        show_progress=False,
    )
    seconds, at = announced[0]
    return seconds, time.perf_counter() - at


if __name__ == "__main__":
    main()
