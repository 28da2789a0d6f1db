"""Pretrained networks for other image and patch sizes, against transformers' own interpolation and by definition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from transformers import (
    AutoModelForImageClassification,
    BeitImageProcessorPil,
    ConvNextImageProcessorPil,
    DeiTImageProcessorPil,
    ViTImageProcessorPil,
)

from adsr_hf.fine_tuning.freezing import freeze
from adsr_hf.fine_tuning.resizing import resample_kernel, resample_positions, resize_network, resize_processor
from tests.tiny import SIZE, tiny_model

RESIZED = ("vit", "deit", "dinov2", "beit")
# BEiT's relative positions start at zero, which any resampling keeps.
INITIALIZED = {"initializer_range": 0.5}


def network(family: str, **config: Any) -> Any:
    model = tiny_model(family, **({} if family == "dinov2" else INITIALIZED), **config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "position" in name or "token" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def images(side: int) -> Tensor:
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def logits(model: Any, pixel_values: Tensor, **inputs: Any) -> Tensor:
    return model(pixel_values=pixel_values, **inputs).logits


@pytest.mark.parametrize("family", RESIZED)
@pytest.mark.parametrize("side", [8, 12, 24])
def test_computes_what_transformers_interpolates_at_run_time(family: str, side: int) -> None:
    model = network(family)
    # BEiT and DINOv2 interpolate by themselves.
    inputs = {"interpolate_pos_encoding": True} if family in ("vit", "deit") else {}
    resized = resize_network(model, image_size=side)
    assert resized.config.image_size == side
    assert model.config.image_size == SIZE
    torch.testing.assert_close(logits(resized, images(side)), logits(model, images(side), **inputs))
    assert not torch.allclose(logits(resized, images(side)), logits(network(family, image_size=side), images(side)))


@pytest.mark.parametrize("family", [*RESIZED, "convnext", "resnet"])
def test_an_unchanged_size_gives_identical_logits(family: str) -> None:
    model = network(family) if family in RESIZED else tiny_model(family).eval()
    expected = logits(model, images(SIZE))
    sizes = {"image_size": SIZE, "patch_size": 4} if family in RESIZED else {"image_size": SIZE}
    assert torch.equal(logits(resize_network(model, **sizes), images(SIZE)), expected)


@pytest.mark.parametrize("family", RESIZED)
def test_the_result_is_an_ordinary_checkpoint(family: str, tmp_path: Path) -> None:
    resized = resize_network(network(family), image_size=12, patch_size=2)
    resized.save_pretrained(tmp_path)
    restored, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert (restored.config.image_size, restored.config.patch_size) == (12, 2)
    assert torch.equal(logits(restored, images(12)), logits(resized, images(12)))
    kernel = next(p for n, p in restored.named_parameters() if n.endswith("projection.weight"))
    assert kernel.shape == (16, 3, 2, 2)


def test_absolute_positions_of_beit_are_interpolated_too() -> None:
    model = network("beit", use_absolute_position_embeddings=True, use_relative_position_bias=False)
    resized = resize_network(model, image_size=8)
    old, new = model.beit.embeddings.position_embeddings, resized.beit.embeddings.position_embeddings
    assert torch.equal(new, resample_positions(old, 4, 2))


def test_a_table_shared_by_all_blocks_is_interpolated() -> None:
    model = network("beit", use_relative_position_bias=False, use_shared_relative_position_bias=True)
    torch.testing.assert_close(logits(resize_network(model, image_size=8), images(8)), logits(model, images(8)))


def test_mode_dtype_attention_and_frozen_weights_are_those_of_the_network() -> None:
    model = network("vit").bfloat16().train()
    model.set_attn_implementation("eager")
    frozen = freeze(model, ["embeddings", "layers.0"])
    model.vit.embeddings.eval()
    resized = resize_network(model, image_size=8, patch_size=2)
    assert {name for name, parameter in resized.named_parameters() if not parameter.requires_grad} == set(frozen)
    modes = {name: module.training for name, module in resized.named_modules()}
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    assert resized.dtype == torch.bfloat16
    assert resized.config._attn_implementation == "eager"


def cubic(distance: float) -> float:
    """Keys' kernel with a = −0.75, as torch has it."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def cubic_matrix(old: int, new: int) -> np.ndarray:
    """(new, old) weights of one axis, edges repeated, half-pixel centres."""
    weights = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            weights[row, min(max(tap, 0), old - 1)] += cubic(centre - tap)
    return weights


@pytest.mark.parametrize(("old", "new"), [(4, 2), (4, 3), (4, 7), (14, 8)])
@pytest.mark.parametrize("special", [0, 1, 2])
def test_positions_equal_an_independent_bicubic_interpolation(old: int, new: int, special: int) -> None:
    positions = torch.randn(1, special + old**2, 5, generator=torch.Generator().manual_seed(0))
    found = resample_positions(positions, old, new)
    axis = cubic_matrix(old, new)
    grid = positions[0, special:].reshape(old, old, 5).double().numpy()
    expected = np.einsum("ai,bj,ijd->abd", axis, axis, grid).reshape(new**2, 5)
    np.testing.assert_allclose(found[0, special:].numpy(), expected, atol=1e-5)
    assert torch.equal(found[:, :special], positions[:, :special])


@given(side=st.integers(2, 6), factor=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_larger_kernel_gives_the_tokens_that_the_patches_gave(side: int, factor: int, seed: int) -> None:
    """⟨w, x⟩ = ⟨ŵ, Bx⟩ for every patch x (FlexiViT, section 3.4)."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(4, 3, side, side, generator=generator, dtype=torch.float64)
    patches = torch.randn(5, 3, side, side, generator=generator, dtype=torch.float64)
    size = (side * factor, side * factor)
    enlarged = nn.functional.interpolate(patches, size=size, mode="bicubic", antialias=True)
    found = nn.functional.conv2d(enlarged, resample_kernel(kernel, size[0]))
    torch.testing.assert_close(found, nn.functional.conv2d(patches, kernel))


def test_a_smaller_kernel_is_the_best_there_is() -> None:
    """Of all kernels for halved patches it errs least over white noise: the gradient of the error is zero."""
    kernel = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = resample_kernel(kernel, 4).requires_grad_()
    basis = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
    halved = nn.functional.interpolate(basis, size=(4, 4), mode="bicubic", antialias=True)
    # The mean squared error over white noise is the sum over a basis.
    error = (nn.functional.conv2d(halved, found) - nn.functional.conv2d(basis, kernel)).square().sum()
    (gradient,) = torch.autograd.grad(error, found)
    assert gradient.abs().max() < 1e-9 < error


@pytest.mark.parametrize("family", ["convnext", "resnet"])
def test_convolutions_take_any_image_size_and_have_no_patches(family: str) -> None:
    model = tiny_model(family).eval()
    assert logits(resize_network(model, image_size=24), images(24)).isfinite().all()
    assert getattr(model.config, "image_size", 24) == 24
    with pytest.raises(ValueError, match=f"patch_size=2 does not go with {family}, whose convolutions"):
        resize_network(model, patch_size=2)


def test_other_architectures_are_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="image_size=8 cannot be changed for swin, whose attention windows"):
        resize_network(tiny_model("swin"), image_size=8)
    with pytest.raises(ValueError, match="patch_size=4 cannot be changed for swin"):
        resize_network(tiny_model("swin"), patch_size=4)


@pytest.mark.parametrize("sizes", [{"image_size": SIZE}, {"image_size": SIZE, "patch_size": 2}])
def test_its_own_sizes_suit_any_architecture(sizes: dict[str, int]) -> None:
    model = tiny_model("swin").eval()
    expected = logits(model, images(SIZE))
    assert torch.equal(logits(resize_network(model, **sizes), images(SIZE)), expected)


@pytest.mark.parametrize(
    ("sizes", "advice"), [({"image_size": 10}, 8), ({"patch_size": 3}, 15), ({"image_size": 2}, 4)]
)
def test_cut_off_pixels_are_refused(sizes: dict[str, int], advice: int) -> None:
    with pytest.raises(ValueError, match=rf"is no multiple of patch_size=.*choose image_size={advice},"):
        resize_network(network("vit"), **sizes)


PROCESSORS = [
    ViTImageProcessorPil(size={"height": 16, "width": 16}),
    BeitImageProcessorPil(
        size={"height": 20, "width": 20}, crop_size={"height": 16, "width": 16}, do_center_crop=True
    ),
    DeiTImageProcessorPil(size={"height": 20, "width": 20}, crop_size={"height": 16, "width": 16}),
    DeiTImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}),
    ViTImageProcessorPil(size={"shortest_edge": 16}),
    ConvNextImageProcessorPil(size={"shortest_edge": 16}),
]


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda processor: f"{type(processor).__name__} {processor.size}")
def test_a_resized_processor_gives_images_of_the_new_size(processor: Any) -> None:
    before = processor.to_dict()
    resized = resize_processor(processor, 24)
    photo = Image.effect_noise((50, 37), 60).convert("RGB")
    assert resized(photo, return_tensors="pt")["pixel_values"].shape == (1, 3, 24, 24)
    assert processor.to_dict() == before
    assert (resized.image_mean, resized.image_std) == (processor.image_mean, processor.image_std)


def test_the_margin_that_is_cropped_stays_in_proportion() -> None:
    resized = resize_processor(PROCESSORS[2], 32)
    assert (resized.size["height"], resized.crop_size["height"]) == (40, 32)
