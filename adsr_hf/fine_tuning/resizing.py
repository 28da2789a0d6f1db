"""A pretrained network for images, or patches, of another size: positions and patch kernel are resampled."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from adsr_hf.networks.modes import set_modes

_WITH_POSITIONS = ("vit", "deit", "dinov2", "dinov2_with_registers", "beit")
_OF_ANY_SIZE = ("convnext", "convnextv2", "resnet", "adsr_cifar_resnet")

Network = TypeVar("Network", bound=PreTrainedModel)


def resize_network(model: Network, *, image_size: int | None = None, patch_size: int | None = None) -> Network:
    """A network with the same weights, and the same ones frozen, for another image or patch size.

    Position embeddings are interpolated as transformers does at run time: absolute ones bicubically, BEiT's tables of
    relative positions bilinearly, those of class and distillation tokens kept. For a new patch size the kernel is
    resampled by :func:`resample_kernel`. The result is an ordinary network: saved, ``AutoModelForImageClassification``
    loads it, and its config says the new sizes.

    Args:
        model: ViT, DeiT, DINOv2 (also with registers) or BEiT; ConvNeXt and ResNet, for image_size alone, where only
            the config changes; any other at its own sizes. Not changed itself, unless nothing but its config needs to.
        image_size: side of the images in pixels; None = as it is.
        patch_size: side of the patches in pixels; None = as it is.

    Raises:
        ValueError: for another architecture, sides that are not square, or an image that is no whole number of
            patches.
    """
    config = copy.deepcopy(model.config)
    if config.model_type in _OF_ANY_SIZE and patch_size is None:
        if hasattr(config, "image_size") and image_size is not None:
            model.config.image_size = image_size
        return model
    if config.model_type not in _OF_ANY_SIZE and _has_sides(config, image_size=image_size, patch_size=patch_size):
        return model
    _check_family(config.model_type, image_size, patch_size)
    old_image, old_patch = (_side(name, getattr(config, name)) for name in ("image_size", "patch_size"))
    new_image, new_patch = image_size or old_image, patch_size or old_patch
    if new_image % new_patch or new_image < new_patch:
        raise ValueError(
            f"image_size={new_image} is no multiple of patch_size={new_patch}, so that pixels would be cut off; "
            f"choose image_size={max(1, round(new_image / new_patch)) * new_patch}, or another patch_size"
        )
    config.image_size, config.patch_size = new_image, new_patch
    old_grid, new_grid = old_image // old_patch, new_image // new_patch
    state = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("embeddings.position_embeddings"):
            tensor = resample_positions(tensor, old_grid, new_grid)
        elif name.endswith("relative_position_bias_table"):
            tensor = _resample_relative(tensor, 2 * old_grid - 1, 2 * new_grid - 1)
        elif name.endswith("patch_embeddings.projection.weight") and new_patch != old_patch:
            tensor = resample_kernel(tensor, new_patch)
        state[name] = tensor
    resized = type(model)(config)
    resized.to(model.device, model.dtype).load_state_dict(state)
    for name, parameter in model.named_parameters():
        resized.get_parameter(name).requires_grad = parameter.requires_grad
    set_modes([(resized.get_submodule(name), module.training) for name, module in model.named_modules()])
    return resized


def resample_positions(positions: Tensor, old_grid: int, new_grid: int) -> Tensor:
    """Absolute position embeddings of another grid, by bicubic interpolation; those of leading tokens are kept.

    Args:
        positions: (1, S + old_grid², D) float, for S special tokens and then the patches, row by row.
        old_grid, new_grid: patches on a side.

    Returns:
        (1, S + new_grid², D), of the same dtype.
    """
    special = positions.shape[1] - old_grid**2
    patches = _interpolate(positions[0, special:], old_grid, new_grid, mode="bicubic")
    return torch.cat([positions[:, :special], patches[None]], dim=1)


def resample_kernel(kernel: Tensor, size: int) -> Tensor:
    """A patch embedding's kernel for another patch size: PI-resize (FlexiViT, Beyer et al. 2022, arXiv 2212.08013).

    Section 3.4: ŵ = (Bᵀ)⁺ w, where B is the linear map that resizes a patch, so that a resized patch gives the token
    that the patch gave: exactly for larger patches, in the least-squares sense for smaller ones. B is bicubic with
    antialiasing, as images are resized, where the paper takes bilinear.

    Args:
        kernel: (D, C, P, P) float.
        size: side of the new kernel, in pixels.

    Returns:
        (D, C, size, size), of the same dtype.
    """
    side = kernel.shape[-1]
    pixels = torch.eye(side**2, dtype=torch.float64, device=kernel.device).reshape(side**2, 1, side, side)
    # Row i holds what becomes of pixel i: this is Bᵀ.
    resized = nn.functional.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True).flatten(1)
    flat = kernel.double().flatten(2) @ torch.linalg.pinv(resized).T
    return flat.reshape(*kernel.shape[:2], size, size).to(kernel.dtype)


def resize_processor(processor: Any, image_size: int) -> Any:
    """An image processor like ``processor`` whose images have this side; a margin that it crops is kept in proportion.

    Args:
        image_size: side of the images in pixels.
    """
    settings = processor.to_dict()
    size, crop = dict(settings.get("size") or {}), dict(settings.get("crop_size") or {})
    if settings.get("do_center_crop") and crop:
        factor = image_size / crop["height"]
        size = {name: round(value * factor) for name, value in size.items() if value is not None}
        crop = {"height": image_size, "width": image_size}
        return type(processor).from_dict(settings | {"size": size, "crop_size": crop})
    # ConvNeXt's crops to the shortest edge by itself.
    crops = "crop_pct" in settings
    size = {"shortest_edge": image_size} if crops else {"height": image_size, "width": image_size}
    return type(processor).from_dict(settings | {"size": size})


def _check_family(model_type: str, image_size: int | None, patch_size: int | None) -> None:
    given = f"image_size={image_size}" if image_size is not None else f"patch_size={patch_size}"
    if model_type in _OF_ANY_SIZE:
        raise ValueError(
            f"patch_size={patch_size} does not go with {model_type}, whose convolutions do not cut images into "
            f"patches; leave it out. It can be set for {', '.join(_WITH_POSITIONS)}"
        )
    if model_type not in _WITH_POSITIONS:
        why = ", whose attention windows have a size of their own" if model_type.startswith("swin") else ""
        raise ValueError(
            f"{given} cannot be changed for {model_type}{why}: it is known how to resample "
            f"{', '.join(_WITH_POSITIONS)}, and {', '.join(_OF_ANY_SIZE)} take any image_size. Leave it out, or start "
            "from another checkpoint"
        )


def _has_sides(config: Any, **sides: int | None) -> bool:
    """Whether the network's sides are those that are given; None is any."""
    given = {name: side for name, side in sides.items() if side is not None}
    return all(getattr(config, name, None) in (side, [side, side], (side, side)) for name, side in given.items())


def _side(name: str, value: Any) -> int:
    sides = set(value) if isinstance(value, list | tuple) else {value}
    if len(sides) > 1:
        raise ValueError(f"the checkpoint's {name}={value} is not square, which cannot be resampled; leave sizes out")
    return int(sides.pop())


def _interpolate(rows: Tensor, old: int, new: int, *, mode: str) -> Tensor:
    """(old², D) values on a grid to (new², D)."""
    grid = rows.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(grid, size=(new, new), mode=mode, align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(new**2, -1).to(rows.dtype)


def _resample_relative(table: Tensor, old: int, new: int) -> Tensor:
    """(old² + 3, heads), whose last three rows concern the class token, to (new² + 3, heads)."""
    return torch.cat([_interpolate(table[:-3], old, new, mode="bilinear"), table[-3:]])
