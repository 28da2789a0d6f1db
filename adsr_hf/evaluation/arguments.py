"""What ``adsr evaluate`` can be told. Imports nothing heavy."""

from dataclasses import dataclass, field


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
            "out: the one that the run was trained against."
        },
    )
    split: str = field(
        default="test", metadata={"help": "Which images to measure: 'test', or 'validation' while you still choose."}
    )
    attack_steps: int = field(default=50, metadata={"help": "PGD steps; use more than in training."})
    attack_restarts: int = field(
        default=1, metadata={"help": "Random restarts; the worst image of all is kept, for each image."}
    )
    batch_size: int = field(default=100, metadata={"help": "Images attacked together; figures do not depend on it."})
    seed: int = field(default=0, metadata={"help": "Seed of the random starts, which are drawn for each image."})
    output_dir: str | None = field(
        default=None,
        metadata={"help": "Folder for summary.json and records.parquet. Left out: evaluation/ inside the checkpoint."},
    )

    def __post_init__(self) -> None:
        if self.split not in ("test", "validation"):
            raise ValueError(f"split={self.split!r} must be 'test' or 'validation'; training images prove nothing")
        for name in ("attack_steps", "attack_restarts", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")
