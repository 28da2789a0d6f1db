"""``adsr train RECIPE.yaml [--field value ...]``."""

from pathlib import Path

from adsr_hf.cli.help_text import describe_fields
from adsr_hf.cli.main import OK
from adsr_hf.settings.calibration import CalibrationArguments
from adsr_hf.settings.data import DataArguments
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.fine_tuning import FineTuningArguments
from adsr_hf.settings.method import MethodArguments
from adsr_hf.settings.model import ModelArguments
from adsr_hf.training.interrupt import Stopped, TrainingInterrupted, signal_of

_SECTIONS = {
    "method": MethodArguments,
    "fine-tuning": FineTuningArguments,
    "calibration": CalibrationArguments,
    "data": DataArguments,
    "model": ModelArguments,
}


def run(words: list[str]) -> int:
    """Train, measure on the test split, and leave an ordinary checkpoint with run.json beside it."""
    if "--help" in words or "-h" in words:
        print(_help())
        return OK
    if "--help-all" in words:
        from adsr_hf.runs.recipe import full_help

        print(full_help())
        return OK
    if not words:
        raise UsageError("adsr train needs a recipe, such as recipes/digits/vit_adsr.yaml, or flags")
    path = None if words[0].startswith("--") else Path(words[0])
    from adsr_hf.runs.recipe import load_recipe
    from adsr_hf.runs.train import train_recipe, way_on_after_stopping

    recipe = load_recipe(path, words if path is None else words[1:])
    if recipe.config.process_index == 0:
        for note in recipe.notes:
            print(note, flush=True)
    try:
        train_recipe(recipe.config, recipe.data, recipe.model)
    except TrainingInterrupted:
        raise
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped; {way_on_after_stopping(recipe.config)}", signum=signal_of(stop)) from None
    return OK


def _help() -> str:
    lines = [
        "usage: adsr train RECIPE.yaml [--field value ...]",
        "",
        "A recipe maps field names to values; flags of the same names win over it. Beside the fields below, every",
        "field of transformers.TrainingArguments is one (output_dir, learning_rate, num_train_epochs, seed,",
        "load_best_model_at_end, metric_for_best_model, resume_from_checkpoint, push_to_hub, ...):",
        "`adsr train --help-all` lists them.",
        "Several processes: accelerate launch -m adsr_hf train RECIPE.yaml",
    ]
    return "\n".join(lines + describe_fields(_SECTIONS))
