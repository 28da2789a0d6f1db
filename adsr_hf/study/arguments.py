"""What a study file may hold. Imports nothing heavy."""

from dataclasses import dataclass

from adsr_hf.settings.evaluation import EvaluateArguments
from adsr_hf.settings.setting import setting

# Key of a study file to its help.
KEYS = {
    "title": "Heads the table (default: the file's name).",
    "plan": "Free text: what was decided before any result was seen. It stands at the top of the table.",
    "recipe": "Base recipe of every cell, a path relative to the study file. An arm or a variant may name its own.",
    "settings": "Fields of the recipe that change for every cell.",
    "arms": "What is compared: name to fields that change in it. Later ones win: recipe, settings, variant, arm; null "
    "takes a field back to its default.",
    "variants": "Where it is compared: name to fields that change, such as another data set or network. Each gets a "
    "table of its own. Left out: one table.",
    "seeds": "Training seeds, such as [0, 1, 2]. Every arm of every variant is run with each.",
    "baseline": "The arm that the others are tested against. Left out: no tests.",
    "evaluation": "How each cell is measured: fields of adsr evaluate, below.",
    "output_dir": "Folder for cells and tables (default: runs/ and the file's name).",
    "parallel": "How many cells run at a time (default 1).",
    "threads": "CPU threads of each cell (default: the cores shared out; with launch: accelerate decides).",
    "launch": "Arguments of accelerate launch, with which each cell is started, such as [--config_file, gpus.yaml]. "
    "Left out: plain processes, which are kept from cell to cell.",
}


@dataclass
class StudyEvaluation(EvaluateArguments):
    """How the cells of a study are measured.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    max_eval_images: int | None = setting(
        None, "Measure this many images, drawn class by class, the same for every cell. Left out: all."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output_dir is not None:
            raise ValueError(
                f"output_dir={self.output_dir!r} does not go into a study's evaluation: each cell keeps its records "
                "in its own folder; leave it out, and set output_dir of the study"
            )
        if self.max_eval_images is not None and self.max_eval_images < 1:
            raise ValueError(
                f"max_eval_images={self.max_eval_images} must be at least 1; leave it out to measure every image"
            )
