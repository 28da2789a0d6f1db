"""From ModelArguments to a network and its image processor."""

from dataclasses import dataclass
from typing import Any

from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    ViTImageProcessorPil,
)

from adsr_hf.fine_tuning.freezing import freeze
from adsr_hf.fine_tuning.head import renew_head, reorder_head
from adsr_hf.fine_tuning.lora import add_adapters
from adsr_hf.fine_tuning.resizing import resize_network, resize_processor
from adsr_hf.networks.class_names import match_names
from adsr_hf.networks.classifier import INFERENCE_ONLY, check_usable
from adsr_hf.networks.pretrained import (
    CANNOT_BE_LOADED,
    PretrainedError,
    first_line,
    load_classifier,
    load_config,
    load_for_new_head,
    load_image_processor,
    refuse_pickles,
)
from adsr_hf.settings.model import ModelArguments


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
        ValueError: when the checkpoint has no image processor or is refused by :mod:`adsr_hf.networks.pretrained`, or
            the architecture does not fit.
    """
    if arguments.model is None:
        check_usable(arguments.model_type)
        side = arguments.image_size
        return ViTImageProcessorPil(size={"height": side, "width": side})
    try:
        # Before any image is decoded.
        load_config(arguments.model, revision=arguments.model_revision)
        refuse_pickles(arguments.model, revision=arguments.model_revision)
    except PretrainedError as error:
        raise ValueError(f"model={arguments.model!r} is not loaded: {error}") from error
    try:
        processor = load_image_processor(arguments.model, revision=arguments.model_revision)
    except PretrainedError as error:
        raise ValueError(
            f"model={arguments.model!r} has no image processor that can be loaded: {error}. Give a Hub name or a "
            "folder that holds preprocessor_config.json"
        ) from error
    return processor if arguments.image_size is None else resize_processor(processor, arguments.image_size)


def load_model(arguments: ModelArguments, class_names: list[str]) -> ModelAndLabels:
    """Build or load the network for these classes, and make it train what the arguments say.

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
            train_norms=arguments.lora_train_norms,
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
    where = f"model_type={arguments.model_type!r} with {fields}"
    try:
        config = AutoConfig.for_model(arguments.model_type, **labels, **fields)
    except CANNOT_BE_LOADED as error:
        raise ValueError(f"{where}: {first_line(error)}; correct model_type or model_config") from error
    unknown = sorted(set(arguments.config_fields) - set(type(config)().to_dict()))
    if unknown:
        raise ValueError(
            f"model_config has fields that {type(config).__name__} does not know: {', '.join(unknown)}; correct their "
            "spelling, or leave them out"
        )
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ValueError(
            f"model_type={arguments.model_type!r} is no image classifier in transformers; choose one that is, such as "
            "vit, deit, swin, convnext or resnet"
        )
    config.architectures = [_trainable_class(config).__name__]
    try:
        model = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    except CANNOT_BE_LOADED as error:
        raise ValueError(f"{where}: {first_line(error)}; correct model_type or model_config") from error
    return ModelAndLabels(model, f"{arguments.model_type} from scratch")


def _trainable_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The first class of an architecture that has several, of those that can be trained."""
    found = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    classes = found if isinstance(found, tuple) else (found,)
    return next(class_ for class_ in classes if class_.__name__ not in INFERENCE_ONLY)


def _from_checkpoint(arguments: ModelArguments, class_names: list[str], labels: dict[str, Any]) -> ModelAndLabels:
    """The old head where its names are the data set's, in whatever order and spelling; else a new one."""
    place = {"source": str(arguments.model), "revision": arguments.model_revision}
    try:
        config = load_config(**place)
        two_headed = [name for name in config.architectures or [] if name in INFERENCE_ONLY]
        if two_headed:
            # Its heads were made for an average; one alone is another classifier.
            config.architectures = [INFERENCE_ONLY[two_headed[0]]]
            name = f"{arguments.model} as {config.architectures[0]}, since {two_headed[0]} cannot be trained,"
        else:
            name = str(arguments.model)
        own_names = [config.id2label[index] for index in range(config.num_labels)]
        order = match_names(class_names, own_names)
        if two_headed or None in order or len(order) != len(own_names):
            config.id2label, config.label2id = labels["id2label"], labels["label2id"]
            model = load_for_new_head(**place, config=config)
            renew_head(model)
            return ModelAndLabels(model, f"{name} with a new head of {len(class_names)} classes")
        model = load_classifier(**place, config=config)
    except PretrainedError as error:
        raise ValueError(f"model={arguments.model!r} cannot be loaded: {error}") from error
    if own_names == class_names:
        return ModelAndLabels(model, f"{name} with its own head")
    positions = [index for index in order if index is not None]
    reorder_head(model, positions)
    model.config.id2label, model.config.label2id = labels["id2label"], labels["label2id"]
    moved = [f"{own_names[index]!r} is {wanted!r}" for index, wanted in zip(positions, class_names, strict=True)]
    return ModelAndLabels(
        model,
        f"{name} with its own head, classes matched by name ({'; '.join(moved[:5])}{'; ...' * (len(moved) > 5)})",
    )
