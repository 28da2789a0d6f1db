"""From ModelArguments to a network and its image processor."""

from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedModel,
    ViTImageProcessorPil,
)

import adsr_hf.networks  # noqa: F401  (transformers knows its architectures from then on)
from adsr_hf.fine_tuning.freezing import freeze
from adsr_hf.fine_tuning.lora import add_adapters
from adsr_hf.fine_tuning.resizing import resize_network, resize_processor
from adsr_hf.model_arguments import ModelArguments


@dataclass(frozen=True)
class ModelAndLabels:
    """A network, and what became of its head.

    Attributes:
        model: an image classifier with the data set's label names; a ``peft.PeftModel`` with ``lora_rank``.
        note: one phrase for the first line: from where, whether the head is new, and what is trained.
    """

    model: Any
    note: str


def load_processor(arguments: ModelArguments) -> Any:
    """The checkpoint's own image processor, for ``image_size``; from scratch, one that maps pixels to [-1, 1].

    Raises:
        ValueError: when the checkpoint has no image processor.
    """
    if arguments.model is None:
        side = arguments.image_size
        return ViTImageProcessorPil(size={"height": side, "width": side})
    try:
        processor = AutoImageProcessor.from_pretrained(arguments.model, revision=arguments.model_revision)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model={arguments.model!r} has no image processor that can be loaded: {error}. Give a Hub name or a "
            "folder that holds preprocessor_config.json"
        ) from error
    return processor if arguments.image_size is None else resize_processor(processor, arguments.image_size)


def load_model(arguments: ModelArguments, class_names: list[str]) -> ModelAndLabels:
    """Build or load the network for these classes, and make it train what the arguments say.

    Remote code is never run.

    Raises:
        ImportError: when PEFT is needed and not installed.
        ValueError: when the architecture or a config field is unknown, the checkpoint is no image classifier, or it
            cannot be resized, frozen, adapted or computed as asked.
    """
    labels = {
        "num_labels": len(class_names),
        "id2label": dict(enumerate(class_names)),
        "label2id": {name: index for index, name in enumerate(class_names)},
    }
    if arguments.model is None:
        return _prepared(_from_scratch(arguments, labels), arguments)
    found = _from_checkpoint(arguments, class_names, labels)
    resized = resize_network(found.model, image_size=arguments.image_size, patch_size=arguments.patch_size)
    return _prepared(ModelAndLabels(resized, found.note), arguments)


def _prepared(found: ModelAndLabels, arguments: ModelArguments) -> ModelAndLabels:
    """With the attention that is asked for, and with only that trained which is asked for."""
    model, note = found.model, found.note
    if arguments.attn_implementation is not None:
        _set_attention(model, arguments.attn_implementation)
    if arguments.freeze:
        frozen = freeze(model, arguments.freeze)
        note += f", {len(frozen)} of {len(list(model.parameters()))} tensors frozen"
    if arguments.lora_rank:
        model = add_adapters(
            model,
            rank=arguments.lora_rank,
            alpha=arguments.lora_alpha,
            dropout=arguments.lora_dropout,
            targets=arguments.lora_targets,
        )
        note += f", adapters of rank {arguments.lora_rank}"
    return ModelAndLabels(model, note)


def _set_attention(model: PreTrainedModel, implementation: str) -> None:
    try:
        model.set_attn_implementation(implementation)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"attn_implementation={implementation!r} does not go with {type(model).__name__} here: {error} Leave it "
            "out for transformers' choice"
        ) from error
    if model.config._attn_implementation != implementation:
        raise ValueError(
            f"attn_implementation={implementation!r} cannot be set for {type(model).__name__}, which computes by "
            f"{model.config._attn_implementation!r}; leave it out"
        )


def _from_scratch(arguments: ModelArguments, labels: dict[str, Any]) -> ModelAndLabels:
    fields = {"image_size": arguments.image_size, **arguments.config_fields}
    try:
        config = AutoConfig.for_model(arguments.model_type, **labels, **fields)
        model = AutoModelForImageClassification.from_config(config)
    except (ValueError, KeyError) as error:
        raise ValueError(f"model_type={arguments.model_type!r} with {fields}: {error}") from error
    unknown = sorted(set(arguments.config_fields) - set(type(config)().to_dict()))
    if unknown:
        raise ValueError(
            f"model_config has fields that {type(config).__name__} does not know: {', '.join(unknown)}; correct their "
            "spelling, or leave them out"
        )
    return ModelAndLabels(model, f"{arguments.model_type} from scratch")


def _from_checkpoint(arguments: ModelArguments, class_names: list[str], labels: dict[str, Any]) -> ModelAndLabels:
    source = {"pretrained_model_name_or_path": arguments.model, "revision": arguments.model_revision}
    try:
        config = AutoConfig.from_pretrained(**source)
    except (OSError, ValueError) as error:
        raise ValueError(f"model={arguments.model!r} cannot be loaded: {error}") from error
    own_names = [config.id2label[index] for index in range(config.num_labels)]
    if own_names == class_names:
        model = AutoModelForImageClassification.from_pretrained(**source)
        return ModelAndLabels(model, f"{arguments.model} with its own head")
    if sorted(own_names) == sorted(class_names):
        raise ValueError(
            f"model={arguments.model!r} has the data set's label names in another order: {own_names} against "
            f"{class_names}; training would start from a permuted head. Reorder the data set's classes, or rename "
            "them if they mean something else"
        )
    model = AutoModelForImageClassification.from_pretrained(**source, **labels, ignore_mismatched_sizes=True)
    return ModelAndLabels(model, f"{arguments.model} with a new head of {len(class_names)} classes")
