"""``adsr init PHOTOS/ [--output recipe.yaml] [--model CHECKPOINT] [--overwrite true]``."""

import shlex
from pathlib import Path

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import OptionParser, yes_or_no
from adsr_hf.settings.errors import UsageError


def run(words: list[str]) -> int:
    """Look at a folder of photos and write a recipe for it, with the reason of each choice."""
    parser = OptionParser(
        prog="adsr init",
        description="Write a recipe for a folder of photos: counts, classes, sizes and splits are looked at, and "
        "image size, model, radius, batch, epochs and expected time suggested, with the reason above each setting. No "
        "image is decoded, and nothing is trained.",
    )
    parser.add_argument("photos", help="folder with a sub-folder for each class, with train/ and test/ above or not")
    parser.add_argument("-o", "--output", type=Path, default=None, help="the recipe (default: the folder's name.yaml)")
    parser.add_argument("--model", default=None, help="checkpoint to start from: a Hub name or a folder")
    parser.add_argument("--overwrite", type=yes_or_no, default=False, help="replace a recipe that is there")
    arguments = parser.parse_args(words)
    from adsr_hf.onboarding.choices import choices
    from adsr_hf.onboarding.expected_time import expected_seconds
    from adsr_hf.onboarding.input_size import input_shape
    from adsr_hf.onboarding.photos import look_at
    from adsr_hf.onboarding.recipe_text import default_path, recipe_text, settings_of
    from adsr_hf.records.durations import duration_in_words
    from adsr_hf.records.files import write_bytes
    from adsr_hf.runs.recipe import recipe_from_settings
    from adsr_hf.settings.model import ModelArguments

    path = arguments.output or default_path(arguments.photos)
    if path.exists() and not arguments.overwrite:
        raise UsageError(f"--output={path} is there already; name another, or add --overwrite true")
    photos = look_at(arguments.photos)
    side = 0 if arguments.model is None else min(input_shape(ModelArguments(model=arguments.model))[1:])
    chosen = choices(photos, model=arguments.model, model_side=side)
    recipe = recipe_from_settings(settings_of(chosen) | {"output_dir": f"runs/{path.stem}"})
    minutes = duration_in_words(expected_seconds(recipe, photos))
    write_bytes(path, recipe_text(photos, chosen, path, minutes=minutes).encode())
    images = ", ".join(f"{count:,} {split}" for split, count in photos.images.items())
    print(f"{arguments.photos}: {len(photos.counts)} classes, {images} images, {photos.side} px in the middle")
    for note in photos.notes:
        print(f"  {note}")
    print(f"recipe: {path}, {minutes} here\nnext: adsr train {shlex.quote(str(path))}")
    return OK
