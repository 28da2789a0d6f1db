"""Where a model is said to be, looked up before anything else is asked of the user."""

import difflib
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers.utils import CONFIG_NAME, cached_file

from adsr_hf.records.checkpoint_folders import checkpoint_folders


def refuse_missing_model(name: str) -> None:
    """Raise ValueError where ``name`` is neither the folder of a saved model nor one that the Hub has."""
    folder = Path(name)
    if folder.is_dir():
        if not (folder / CONFIG_NAME).is_file():
            raise ValueError(f"{name} holds no {CONFIG_NAME}, so there is no saved model in it{_inside(folder)}")
        return
    if folder.exists():
        raise ValueError(f"{name} is a file; name the folder that holds the model")
    if not _may_be_on_the_hub(name):
        raise ValueError(f"{name} does not exist{_alike(folder)}")
    try:
        cached_file(name, CONFIG_NAME)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{name} is no folder here{_alike(folder)}, and the Hub gives no such model: {reason}"
        ) from error


def _may_be_on_the_hub(name: str) -> bool:
    """Not where the first part is a folder here, for then the rest is what was mistyped."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" not in name or not Path(name).parent.is_dir()


def _alike(folder: Path) -> str:
    parent = folder.parent
    if not parent.is_dir():
        return ""
    names = [path.name for path in parent.iterdir() if path.is_dir()]
    found = difflib.get_close_matches(folder.name, names, n=1)
    return f"; did you mean {parent / found[0]}?" if found else ""


def _inside(folder: Path) -> str:
    checkpoints = checkpoint_folders(folder)
    return f"; its newest checkpoint is {checkpoints[-1]}" if checkpoints else ""
