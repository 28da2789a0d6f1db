"""What would end a cell after its training, looked for before it."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from adsr_hf.data import DataArguments
from adsr_hf.data.labelled import load_splits
from adsr_hf.networks.pretrained import PretrainedError, load_config, refuse_pickles
from adsr_hf.settings.data import DIGITS
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.flags import parse_flags
from adsr_hf.study.arguments import StudyEvaluation
from adsr_hf.study.cells import Cell

_DATA_FIELDS = frozenset(field.name for field in fields(DataArguments))


def refuse_unmeasurable(cells: Sequence[Cell]) -> None:
    """Check that there is what the cells' evaluations ask for.

    Local data sets are opened, without decoding an image. Those on the Hub, which would have to be fetched first, are
    left to their cells.

    Args:
        cells: that are to be run.

    Raises:
        UsageError: naming the first cell whose split does not exist, whose images are too few for the data set's
            classes, or whose undefended checkpoint is not there.
    """
    checked: set[str] = set()
    for cell in cells:
        data = {name: value for name, value in cell.settings.items() if name in _DATA_FIELDS}
        question = json.dumps([data, dict(cell.evaluation)], sort_keys=True)
        if question in checked:
            continue
        checked.add(question)
        try:
            (evaluation,) = parse_flags((StudyEvaluation,), cell.evaluation, [])
            (arguments,) = parse_flags((DataArguments,), data, [])
            _check_undefended(evaluation)
            _check_split(arguments, evaluation)
        except ValueError as error:
            raise UsageError(f"{cell.name} could not be measured, so nothing was run: {error}") from error


def _check_undefended(evaluation: StudyEvaluation) -> None:
    if evaluation.undefended is None:
        return
    try:
        load_config(evaluation.undefended)
        refuse_pickles(evaluation.undefended)
    except PretrainedError as error:
        raise ValueError(
            f"undefended={evaluation.undefended!r} is no checkpoint that can be read ({error}); name a folder with "
            "config.json or a Hub model, or leave it out"
        ) from error


def _check_split(data: DataArguments, evaluation: StudyEvaluation) -> None:
    if data.dataset != DIGITS and not Path(data.dataset).expanduser().exists():
        return
    if evaluation.max_eval_images is not None:
        data = replace(data, max_eval_images=evaluation.max_eval_images)
    splits = load_splits(data)
    if (splits.test if evaluation.split == "test" else splits.validation) is None:
        raise ValueError(
            f"split={evaluation.split!r} of the evaluation does not exist in dataset={data.dataset!r}"
            f"{' with validation_fraction=0' if evaluation.split == 'validation' else ''}; choose the other one, or "
            f"name one with {evaluation.split}_split"
        )
