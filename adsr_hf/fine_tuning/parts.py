"""Where in a network a parameter stands, read from its name."""

import re

_EMBEDDINGS = {"embeddings", "embedder", "stem"}
# ViT: layers.3. · DINOv2: layer.3. · Swin: layers.2.blocks.3. or layers.2.downsample. · ConvNeXt and ResNet:
# stages.2.layers.3. or stages.2.downsampling_layer. · ours: stages.2.3.
_BLOCK = re.compile(
    r"(?:^|\.)(?:layers?|stages)\.(\d+)"
    r"(?:\.(?:(?:blocks|layers)\.)?(\d+)|\.(downsample|downsampling_layer)(?=\.))?(?=\.)"
)
_BEFORE, _AFTER = -1.0, float("inf")


def is_embedding(name: str) -> bool:
    """Whether a parameter belongs to what comes before the first block: patches, positions, class token, stem."""
    return not _EMBEDDINGS.isdisjoint(name.split("."))


def block_of(name: str) -> tuple[int, float] | None:
    """Stage and place in it of the block that a parameter belongs to; None outside the blocks.

    Networks without stages have one block a stage. What leads into a stage comes before its blocks, at -1, and what
    leads out of it after them, at infinity.
    """
    found = None if is_embedding(name) else _BLOCK.search(name)
    if found is None:
        return None
    stage, block, passage = found.groups()
    if passage is not None:
        return int(stage), _AFTER if passage == "downsample" else _BEFORE
    return int(stage), float(block or 0)


def part_of(name: str) -> str:
    """The name up to its block's number, or without its last component: what a person would name."""
    found = None if is_embedding(name) else _BLOCK.search(name)
    return name[: found.end()] if found is not None else name.rpartition(".")[0] or name


def parts(names: list[str]) -> list[str]:
    """Every part once, in order."""
    return list(dict.fromkeys(map(part_of, names)))
