"""Which network a run trains: the fields of a recipe that concern the model. Imports nothing heavy."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelArguments:
    """A checkpoint to start from, or an architecture to start from scratch.

    Raises:
        ValueError: when neither or both are given, or a field is outside what is allowed.
    """

    model: str | None = field(
        default=None,
        metadata={
            "help": "Checkpoint to start from: a Hub name or a local folder of an image classifier. Its head is kept "
            "where its label names are the data set's, and replaced otherwise; the first line says which."
        },
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub checkpoint."})
    model_type: str | None = field(
        default=None,
        metadata={
            "help": "Architecture to train from scratch, as in AutoConfig: vit, deit, beit, swin, convnext, ..."
        },
    )
    model_config: dict | str | None = field(
        default=None,
        metadata={"help": "With model_type: fields of its config, a mapping in YAML or JSON on the command line."},
    )
    image_size: int | None = field(
        default=None,
        metadata={"help": "With model_type: images are resized to this many pixels a side. Required there."},
    )

    def __post_init__(self) -> None:
        if (self.model is None) == (self.model_type is None):
            raise ValueError(
                f"model={self.model!r} and model_type={self.model_type!r}: give exactly one, model to start from a "
                "checkpoint or model_type to start from scratch"
            )
        if isinstance(self.model_config, str):
            try:
                self.model_config = json.loads(self.model_config)
            except json.JSONDecodeError as error:
                raise ValueError(f"model_config={self.model_config!r} is not valid JSON: {error}") from None
        if self.model_config is not None and not isinstance(self.model_config, dict):
            raise ValueError(f"model_config={self.model_config!r} must map names to values")
        if self.model is not None and (self.model_config is not None or self.image_size is not None):
            raise ValueError(
                f"model_config and image_size describe a model from scratch, but model={self.model!r} brings its own; "
                "leave them out"
            )
        if self.model_type is not None and (self.image_size is None or self.image_size < 1):
            raise ValueError(
                f"image_size={self.image_size} must be at least 1 with model_type={self.model_type!r}; it is the side "
                "that images are resized to"
            )

    @property
    def config_fields(self) -> dict[str, Any]:
        """``model_config`` as a mapping."""
        return self.model_config if isinstance(self.model_config, dict) else {}
