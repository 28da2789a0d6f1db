"""Which network a run trains: the fields of a recipe that concern the model. Imports nothing heavy."""

import json
from dataclasses import dataclass
from typing import Any

from adsr_hf.settings.adapters import AdapterArguments
from adsr_hf.settings.checks import at_least, finite_numbers, one_of
from adsr_hf.settings.setting import setting

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flex_attention")


@dataclass
class ModelArguments(AdapterArguments):
    """A checkpoint to start from, or an architecture to start from scratch.

    Raises:
        ValueError: when neither or both are given, or a field is outside what is allowed.
    """

    model: str | None = setting(
        None,
        "Checkpoint to start from: a Hub name or a local folder of an image classifier. Its head is kept "
        "where its label names are the data set's, in whatever order and spelling, and replaced otherwise; the "
        "first line says which. Code of its own is never run, and weights are read from safetensors alone.",
    )
    model_revision: str = setting("main", "Branch, tag or commit of a Hub checkpoint.")
    model_type: str | None = setting(
        None,
        "Architecture to train from scratch, as in AutoConfig: vit, deit, beit, swin, convnext, ..., or "
        "adsr_cifar_resnet, the ResNet-18 of the robustness papers for images of 32 px (adsr_hf.networks).",
    )
    model_config: dict | str | None = setting(
        None, "With model_type: fields of its config, a mapping in YAML or JSON on the command line."
    )
    image_size: int | None = setting(
        None,
        "Images are resized to this many pixels a side. Required with model_type. With model: where it is "
        "not the checkpoint's own, positions are interpolated (ViT, DeiT, DINOv2, BEiT; ConvNeXt and ResNet have "
        "none).",
    )
    patch_size: int | None = setting(
        None,
        "With model, for ViT, DeiT, DINOv2 and BEiT: patches of this many pixels a side, for which the "
        "checkpoint's kernel is resampled (FlexiViT, arXiv 2212.08013). 4 is usual for images of 32 px.",
    )
    stop_hopeless: bool = setting(
        False,
        "End the run at the first warning that it leads nowhere: one class for everything, no robustness at the full "
        "radius, or clean accuracy below what a linear classifier on the frozen checkpoint reaches. The warning "
        "itself is always given.",
    )
    attn_implementation: str | None = setting(
        None, f"How attention is computed: {', '.join(ATTENTION)}. Default: transformers' choice."
    )

    def __post_init__(self) -> None:
        finite_numbers(self)
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
        self._check_sizes()
        if self.attn_implementation is not None:
            one_of("attn_implementation", self.attn_implementation, ATTENTION)
        self.check_adapters(from_scratch=self.model is None)

    def _check_sizes(self) -> None:
        for name in ("image_size", "patch_size"):
            if (side := getattr(self, name)) is not None:
                at_least(name, side, 1, fix="it is a side in pixels")
        if self.model is not None and self.model_config is not None:
            raise ValueError(
                f"model_config describes a model from scratch, but model={self.model!r} brings its own; leave it out"
            )
        if self.model_type is not None and self.image_size is None:
            raise ValueError(
                f"image_size=None must be at least 1 with model_type={self.model_type!r}; it is the side that images "
                "are resized to"
            )
        if self.model_type is not None and self.patch_size is not None:
            raise ValueError(
                f"patch_size={self.patch_size} resamples the kernel of a checkpoint, but model_type="
                f"{self.model_type!r} starts from scratch; give it in model_config: {{patch_size: {self.patch_size}}}"
            )

    @property
    def config_fields(self) -> dict[str, Any]:
        """``model_config`` as a mapping."""
        return self.model_config if isinstance(self.model_config, dict) else {}
