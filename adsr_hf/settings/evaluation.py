"""What ``adsr evaluate`` can be told. Imports nothing heavy."""

from dataclasses import dataclass, field

from adsr_hf.settings.checks import finite_numbers
from adsr_hf.settings.setting import setting

WEIGHTS = ("published", "teacher", "both")


@dataclass
class EvaluateArguments:
    """How to measure a checkpoint; every field is checked when the object is built.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    threat: list[str] = field(
        default_factory=list,
        metadata={
            "help": "One or several threat models, each a norm and a radius: --threat 'Linf 4/255' 'Linf 8/255'. Left "
            "out: the one that the run was trained against. The first is the one for sanity verdicts and examples."
        },
    )
    attacks: list[str] = field(
        default_factory=lambda: ["pgd"],
        metadata={
            "help": "Attacks, in order; each meets the images that still stand. pgd and margin (PGD on the logit "
            "margin) are ours; apgd-ce, apgd-dlr, apgd-t, fab-t, square and autoattack (its standard four) need pip "
            "install 'adsr_hf[autoattack]'."
        },
    )
    split: str = setting("test", "Which images to measure: 'test', or 'validation' while you still choose.")
    weights: str = setting(
        "published",
        "'published' is what model.safetensors holds: the student, or the teacher of a run with publish: "
        "teacher. 'teacher' is the moving average that a run keeps beside it; its records go to a folder of their "
        "own. 'both' measures one after the other.",
    )
    attack_steps: int = setting(50, "Steps of pgd and margin; use more than in training.")
    attack_restarts: int = setting(
        1, "Random restarts of pgd and margin; the worst image of all is kept, for each image."
    )
    square_queries: int = setting(5000, "Forward passes of square for an image that stands.")
    stability: bool = setting(
        False,
        "Measure flip rate, accuracy and output stability under ten kinds of noise, five severities: "
        "those of CIFAR-10-C, Tiny ImageNet-C or ImageNet-C, whichever is nearest in image size.",
    )
    sanity: bool = setting(False, "Check on 100 images whether the robust accuracy can be believed.")
    undefended: str | None = setting(
        None,
        "With sanity: an undefended checkpoint of the same family, to check that attacks made on it are "
        "weaker than attacks on the model itself.",
    )
    positive_class: str | None = setting(
        None,
        "Of two classes the one that must be found, such as 'defective': the share of its images that are "
        "missed and of false alarms among the others are then figures of their own, clean and under attack.",
    )
    batch_size: int = setting(128, "Images attacked together, in steps of 64; figures do not depend on it.")
    seed: int = setting(0, "Seed of everything random, which is drawn for each image.")
    output_dir: str | None = setting(
        None,
        "Folder for summary.json, records.parquet and examples. Left out: evaluation/ (and "
        "evaluation-teacher/) inside the checkpoint. A killed run continues when started again.",
    )

    def __post_init__(self) -> None:
        finite_numbers(self)
        if self.split not in ("test", "validation"):
            raise ValueError(f"split={self.split!r} must be 'test' or 'validation'; training images prove nothing")
        if self.weights not in WEIGHTS:
            raise ValueError(f"weights={self.weights!r} must be one of {', '.join(WEIGHTS)}")
        for name in ("attack_steps", "attack_restarts", "square_queries", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")
        if self.undefended is not None and not self.sanity:
            raise ValueError(
                f"undefended={self.undefended!r} is for sanity verdicts; add --sanity true, or leave it out"
            )
