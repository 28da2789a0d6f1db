"""Loading what others have saved: none of its code is run, and none of its pickles is opened.

Every network, config and image processor of a name or a folder is loaded here.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import (
    CONFIG_NAME,
    IMAGE_PROCESSOR_NAME,
    PROCESSOR_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    cached_file,
)
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

import adsr_hf.networks  # noqa: F401  (transformers knows its architectures from then on)
from adsr_hf.networks.classifier import check_usable

_SAFE_WEIGHTS = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
# What transformers reads before it knows what to build.
_DESCRIPTIONS = (CONFIG_NAME, IMAGE_PROCESSOR_NAME, PROCESSOR_NAME, ADAPTER_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME)
# The keys of a config that name how something is computed; a value with a slash is code from the Hub.
_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


# What transformers raises for descriptions with values that nobody writes, or that ask for packages that are not here.
CANNOT_BE_LOADED = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, ImportError, RuntimeError, ArithmeticError),
    *(SafetensorError, StrictDataclassError),
)


class PretrainedError(ValueError):
    """What a name or a folder holds cannot be loaded, or is not loaded because it could do harm."""


def load_config(source: str | Path, *, revision: str = "main") -> PreTrainedConfig:
    """The config of a Hub name or a folder.

    Raises:
        PretrainedError: a ValueError, when there is none, its type does not fit, or the source is refused by
            :func:`refuse_unsafe`.
    """
    refuse_unsafe(source, revision=revision)
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        check_usable(config.model_type)
        return config
    except CANNOT_BE_LOADED as error:
        raise PretrainedError(first_line(error)) from error


def load_image_processor(source: str | Path, *, revision: str = "main") -> Any:
    """The image processor of a Hub name or a folder.

    Raises:
        PretrainedError: a ValueError, when there is none, or the source is refused by :func:`refuse_unsafe`.
    """
    refuse_unsafe(source, revision=revision)
    try:
        return AutoImageProcessor.from_pretrained(source, revision=revision, trust_remote_code=False)
    except CANNOT_BE_LOADED as error:
        raise PretrainedError(first_line(error)) from error


def load_classifier(source: str | Path, *, revision: str = "main", **options: Any) -> PreTrainedModel:
    """The image classifier of a Hub name or a folder, with every weight that its architecture has.

    Args:
        options: of ``from_pretrained``, such as ``dtype``.

    Raises:
        PretrainedError: a ValueError, when it is no whole image classifier, or refused by :func:`refuse_unsafe`.
    """
    model, report = _load(source, revision, options)
    if report["missing_keys"]:
        raise PretrainedError(
            f"{source} lacks weights ({sorted(report['missing_keys'])[:3]}), so part of the network would be random; "
            "it is cut short, or no image classifier"
        )
    return model


def load_for_new_head(source: str | Path, *, revision: str = "main", **options: Any) -> PreTrainedModel:
    """The network of a Hub name or a folder; what it lacks, or has in another shape, is initialised at random.

    Args:
        options: of ``from_pretrained``, such as ``num_labels``.

    Raises:
        PretrainedError: a ValueError, when it cannot be loaded, or is refused by :func:`refuse_unsafe`.
    """
    return _load(source, revision, options | {"ignore_mismatched_sizes": True})[0]


def _load(source: str | Path, revision: str, options: dict[str, Any]) -> tuple[PreTrainedModel, dict[str, Any]]:
    load_config(source, revision=revision)
    refuse_pickles(source, revision=revision)
    try:
        return AutoModelForImageClassification.from_pretrained(
            source,
            revision=revision,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
            **options,
        )
    except CANNOT_BE_LOADED as error:
        raise PretrainedError(first_line(error)) from error


def refuse_unsafe(source: str | Path, *, revision: str = "main") -> None:
    """Refuse what would run code, read pickles or lead elsewhere, before transformers looks at it.

    Raises:
        PretrainedError: a ValueError, naming file and reason, when a description is no mapping, names code of its own
            (``auto_map``, a kernel of the Hub), another config, the network of an adapter, or other weights than
            safetensors beside it.
    """
    if Path(source).is_file():
        raise PretrainedError(f"{source} is a file; give the folder that holds {CONFIG_NAME} and the weights")
    for name, content in _descriptions(source, revision):
        if not isinstance(content, dict):
            raise PretrainedError(
                f"{source} has a {name} that maps no names to values; it is not what a model is saved with"
            )
        kernels = sorted(set(_kernels(content)))
        if kernels:
            raise PretrainedError(
                f"{source} asks in {name} to be computed by {', '.join(kernels)}, which is code on the Hub; it is "
                "never fetched and run here. Where you trust the model, remove the entry, and transformers computes "
                "by itself"
            )
        code = sorted(set(_own_code(content)))
        if code:
            raise PretrainedError(
                f"{source} asks for code of its own to be run: auto_map in {name} names {', '.join(code)}. Code that "
                "comes with a model is never run here, whatever is answered or set; use a model whose architecture "
                "transformers has"
            )
        if name == ADAPTER_CONFIG_NAME:
            raise PretrainedError(
                f"{source} holds an adapter ({name}), whose network lies elsewhere; merge the two with peft "
                "(merge_and_unload), and save and name the whole network"
            )
        if content.get("configuration_files"):
            raise PretrainedError(
                f"{source} names other configs by version in {name} ({content['configuration_files']}); only "
                f"{CONFIG_NAME} is read: remove configuration_files from it"
            )
        for file in _named_weights(content):
            if PurePosixPath(file).name != file or not file.endswith((".safetensors", SAFE_WEIGHTS_INDEX_NAME)):
                raise PretrainedError(
                    f"{source} names {file!r} as weights in {name}; only safetensors files in the same folder are "
                    f"read: {_CONVERSION}"
                )


_CONVERSION = (
    "where you trust who made the file, load it once by itself with transformers' "
    "AutoModelForImageClassification.from_pretrained(...) and save_pretrained(...) it into a new folder, which writes "
    f"{SAFE_WEIGHTS_NAME}"
)


def refuse_pickles(source: str | Path, *, revision: str = "main") -> None:
    """Refuse a source without safetensors.

    Raises:
        PretrainedError: a ValueError, with the way to convert what it has, or that a folder has no weights at all.
    """
    if any(_find(source, name, revision) for name in _SAFE_WEIGHTS):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in Path(source).glob(pattern))
    if Path(source).is_dir() and not pickles:
        raise PretrainedError(
            f"{source} has no {SAFE_WEIGHTS_NAME}, nor any other weights; name a folder that save_pretrained "
            "or adsr train wrote whole"
        )
    found = f", only pickles ({', '.join(pickles[:3])}), which can run code when they are read" if pickles else ""
    raise PretrainedError(f"{source} has no {SAFE_WEIGHTS_NAME}{found}: {_CONVERSION}")


def _descriptions(source: str | Path, revision: str) -> Iterator[tuple[str, Any]]:
    """Name and content of each JSON file that transformers may read before it knows what to build."""
    for name in _DESCRIPTIONS:
        path = _find(source, name, revision)
        if path is None:
            continue
        try:
            yield name, json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise PretrainedError(f"{source} has a {name} that cannot be read: {error}") from error


def _find(source: str | Path, name: str, revision: str) -> Path | None:
    folder = Path(source)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    try:
        found = cached_file(
            source,
            name,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError) as error:
        raise PretrainedError(first_line(error)) from error
    return None if found is None else Path(found)


def _own_code(content: Any) -> Iterator[str]:
    """What ``auto_map`` names, wherever it stands in a description."""
    if isinstance(content, list):
        for item in content:
            yield from _own_code(item)
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "auto_map" and value:
                yield from (map(str, value.values()) if isinstance(value, dict) else [str(value)])
            else:
                yield from _own_code(value)


def _kernels(content: Any) -> Iterator[str]:
    """Names of Hub repositories that a description wants to be computed by, wherever they stand in it."""
    if isinstance(content, list):
        for item in content:
            yield from _kernels(item)
    if isinstance(content, dict):
        for key, value in content.items():
            if str(key).removeprefix("_").startswith(_IMPLEMENTATIONS):
                names = value.values() if isinstance(value, dict) else (value,)
                yield from (str(name) for name in names if "/" in str(name))
            else:
                yield from _kernels(value)


def _named_weights(content: dict[str, Any]) -> set[str]:
    """Weight files that a config or an index names itself."""
    explicit, shards = content.get("transformers_weights"), content.get("weight_map")
    named = set(shards.values()) if isinstance(shards, dict) else set()
    return {str(file) for file in named} | ({str(explicit)} if explicit else set())


def first_line(error: BaseException) -> str:
    """What went wrong, of the many lines that transformers says about it."""
    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0]
