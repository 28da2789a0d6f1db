"""A batch taken apart, and its share of an optimizer step."""

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from adsr_hf.attacks import PixelSpace
from adsr_hf.training.batch import StepShare, normalised, repeated, unpack


def test_what_the_model_takes_beside_images_and_labels_is_handed_on() -> None:
    images, labels, extra = torch.zeros(2, 3, 4, 4), torch.tensor([0, 3], dtype=torch.int32), torch.ones(2)
    batch = unpack({"pixel_values": images, "labels": labels, "extra": extra}, num_classes=4)
    assert batch.labels.dtype == torch.int64
    assert batch.others == {"extra": extra}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "must hold pixel_values and labels, got .*'pixel_values'"),
        (torch.zeros(2, 4), "must be one class index for each image"),
        (torch.tensor([0.0, 1.0]), "must be one class index for each image"),
        (torch.tensor([0, 4]), "labels run from 0 to 4, but the model has classes 0 to 3"),
        (torch.tensor([-1, 2]), "labels run from -1 to 2"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: torch.Tensor | None, message: str) -> None:
    inputs = {"pixel_values": torch.zeros(2, 3, 4, 4)} | ({} if labels is None else {"labels": labels})
    with pytest.raises(ValueError, match=message):
        unpack(inputs, num_classes=4)


def test_only_what_belongs_to_images_is_repeated() -> None:
    others = {"mask": torch.tensor([[1], [2]]), "scale": torch.tensor(3.0), "name": "x"}
    twice = repeated(others, images=2, times=2)
    assert twice["mask"].tolist() == [[1], [2], [1], [2]]
    assert twice["scale"] is others["scale"]
    assert repeated(others, images=2, times=1) == others


def test_perturbations_of_integer_images_are_not_cut_off() -> None:
    space = PixelSpace((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    pixels = torch.full((1, 3, 2, 2), 0.3 / 255)
    assert normalised(pixels, space, like=torch.zeros(1, dtype=torch.uint8)).unique().item() == pytest.approx(0.3)
    assert normalised(pixels, space, like=torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_every_image_of_a_step_counts_alike(sizes: list[int]) -> None:
    """Trainer divides the sum over micro-batches by their number where it did not count."""
    share = StepShare()
    batches = [{"labels": torch.zeros(size)} for size in sizes]
    share.count(batches, Accelerator(cpu=True), torch.device("cpu"))
    weights = [share.of(size, None, processes=1, micro_batches=len(sizes)) / len(sizes) / size for size in sizes]
    assert torch.tensor(weights).tolist() == pytest.approx([1 / sum(sizes)] * len(sizes))
    counted = [share.of(size, sum(sizes), processes=2, micro_batches=9) for size in sizes]
    assert sum(counted) == pytest.approx(2)
    share.forget()
    assert share.of(sizes[0], None, processes=1, micro_batches=3) == 1
