import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, SequentialSampler
from transformers import DefaultDataCollator

from adsr_hf.data import ImageClassificationDataset, MixedDataset
from adsr_hf.data.augmentation import Augmentation
from adsr_hf.data.image_stores import MemoryStore
from adsr_hf.networks.pixels import PixelSpace

SPACE = PixelSpace((0.0,) * 3, (1.0,) * 3)
OWN, EXTRA = 23, 17


def part(size: int, *, offset: int = 0, augmentation: Augmentation | None = None, **changes: Any) -> Any:
    """Images of one level each, ``offset`` + index, so that a pixel says which image it is of; label = index mod 3."""
    levels = (torch.arange(size) + offset).to(torch.uint8)
    settings: dict[str, Any] = {
        "store": MemoryStore(levels[:, None, None, None].expand(size, 3, 4, 4).contiguous()),
        "labels": torch.arange(size) % 3,
        "pixel_space": SPACE,
        "class_names": ["a", "b", "c"],
        "augmentation": augmentation,
        "seed": 5,
    } | changes
    return ImageClassificationDataset(**settings)


def mixed(fraction: float = 0.7, *, own: int = OWN, extra: int = EXTRA, seed: int = 0, **options: Any) -> MixedDataset:
    return MixedDataset(part(own, **options), part(extra, offset=100, **options), fraction=fraction, seed=seed)


def levels_of(dataset: MixedDataset, epoch: int) -> list[int]:
    """Which images an epoch reads, in order: below 100 own ones, from 100 on extra ones."""
    dataset.set_epoch(epoch)
    return (dataset.pixels(range(len(dataset)))[:, 0, 0, 0] * 255).round().int().tolist()


@given(fraction=st.floats(0.001, 0.999), own=st.integers(2, 60), extra=st.integers(1, 90), batch=st.integers(1, 40))
@settings(max_examples=80, deadline=None)
def test_each_batch_has_the_share_and_each_epoch_reads_every_own_image_once(
    fraction: float, own: int, extra: int, batch: int
) -> None:
    dataset = mixed(fraction, own=own, extra=extra)
    levels = np.array(levels_of(dataset, 1)[:4000])
    if len(dataset) <= 4000:
        assert sorted(levels[levels < 100]) == list(range(own))
        assert len(dataset) == pytest.approx(own / (1 - fraction), rel=0.11, abs=1.5)
    is_extra = levels >= 100
    for start in range(0, len(levels) - batch + 1, max(1, batch // 3)):
        count = int(is_extra[start : start + batch].sum())
        # fraction is taken to four digits or better.
        assert math.floor(fraction * batch - 0.01) <= count <= math.ceil(fraction * batch + 0.01)


@pytest.mark.parametrize(("fraction", "batch", "expected"), [(0.7, 10, 7), (0.5, 8, 4), (0.75, 4, 3), (0.7, 100, 70)])
def test_a_whole_number_of_extra_images_is_met_exactly(fraction: float, batch: int, expected: int) -> None:
    levels = np.array(levels_of(mixed(fraction, own=90), 2))
    for start in range(0, len(levels) - batch + 1):
        assert (levels[start : start + batch] >= 100).sum() == expected


def test_extra_images_go_on_over_epochs_in_passes_of_their_own() -> None:
    dataset = mixed()
    read = [level for epoch in range(6) for level in levels_of(dataset, epoch) if level >= 100]
    passes = [read[start : start + EXTRA] for start in range(0, len(read) - EXTRA + 1, EXTRA)]
    assert len(passes) >= 12
    for one in passes:
        assert sorted(one) == list(range(100, 100 + EXTRA))
    assert len({tuple(one) for one in passes}) == len(passes)


def test_own_images_come_in_another_order_each_epoch_and_for_each_seed() -> None:
    orders = [
        [level for level in levels_of(mixed(seed=seed), epoch) if level < 100]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(order) for order in orders}) == 3


def test_a_position_depends_on_seed_and_epoch_alone() -> None:
    """So a continued run, which starts in the middle of an epoch it never read, sees what the other would have."""
    whole = mixed(augmentation=Augmentation(1, True, 2))
    for epoch in range(3):
        whole.set_epoch(epoch)
        batches = [whole.__getitems__(range(start, start + 4)) for start in range(0, 40, 4)]
    continued = mixed(augmentation=Augmentation(1, True, 2))
    continued.set_epoch(2)
    for number in (9, 6, 7):
        for found, expected in zip(
            continued.__getitems__(range(4 * number, 4 * number + 4)), batches[number], strict=True
        ):
            assert torch.equal(found["pixel_values"], expected["pixel_values"])
            assert found["labels"] == expected["labels"]
    assert torch.equal(continued[38]["pixel_values"], batches[9][2]["pixel_values"])
    assert torch.equal(continued[-1]["pixel_values"], continued[len(continued) - 1]["pixel_values"])


def test_labels_and_augmentation_belong_to_the_image() -> None:
    augmentation = Augmentation(1, True, 2)
    dataset = mixed(augmentation=augmentation)
    dataset.set_epoch(4)
    levels = levels_of(dataset, 4)
    extra_before = 4 * (len(dataset) - OWN)
    for position, (level, example) in enumerate(zip(levels, dataset.__getitems__(range(len(dataset))), strict=True)):
        is_extra = level >= 100
        source, index = (dataset.extra, level - 100) if is_extra else (dataset.base, level)
        epoch = (extra_before + sum(one >= 100 for one in levels[:position])) // EXTRA if is_extra else 4
        (expected,) = source.examples([index], epoch=epoch)
        assert example["labels"] == index % 3
        assert torch.equal(example["pixel_values"], expected["pixel_values"])


def test_workers_give_what_none_gives_and_see_a_new_epoch() -> None:
    dataset = mixed(augmentation=Augmentation(1, True, 0))
    options: dict[str, Any] = {"batch_size": 10, "collate_fn": DefaultDataCollator()}
    lasting = DataLoader(dataset, num_workers=2, persistent_workers=True, **options)
    seen = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        seen.append(torch.cat([batch["pixel_values"] for batch in lasting]))
        assert torch.equal(seen[-1], torch.cat([batch["pixel_values"] for batch in DataLoader(dataset, **options)]))
    assert not torch.equal(seen[0], seen[1])


def test_two_processes_read_together_what_one_reads() -> None:
    from accelerate.data_loader import prepare_data_loader

    def read(batch: int, processes: int, process: int, skip: int = 0) -> list[list[int]]:
        from accelerate import skip_first_batches

        dataset = mixed()
        loader = prepare_data_loader(
            DataLoader(
                dataset, batch_size=batch, sampler=SequentialSampler(dataset), collate_fn=DefaultDataCollator()
            ),
            num_processes=processes,
            process_index=process,
            put_on_device=False,
        )
        loader = skip_first_batches(loader, skip) if skip else loader
        dataset.set_epoch(3)
        return [(part["pixel_values"][:, 0, 0, 0] * 255).round().int().tolist() for part in loader]

    one = read(10, 1, 0)
    first, second = read(5, 2, 0), read(5, 2, 1)
    whole = len(mixed()) // 10
    assert [a + b for a, b in zip(first, second, strict=True)][:whole] == one[:whole]
    assert read(5, 2, 1, skip=4) == second[4:]
    assert read(10, 1, 0, skip=4) == one[4:]


def test_accelerate_and_copies_keep_the_epoch() -> None:
    dataset = mixed()
    dataset.set_epoch(4)
    other = copy.deepcopy(dataset)
    assert levels_of(other, other.epoch) == levels_of(dataset, 4)
    other.set_epoch(5)
    assert dataset.epoch == 4


def test_positions_outside_an_epoch_are_refused() -> None:
    dataset = mixed()
    for position in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=f"position {position} is outside an epoch of {len(dataset)} images"):
            dataset[position]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"class_names": ["a", "c", "b"]}, r"same class names, but have \['a', 'b', 'c'\] and \['a', 'c', 'b'\]"),
        ({"store": MemoryStore(torch.zeros((4, 3, 5, 5), dtype=torch.uint8))}, r"same image shape.*\(3, 5, 5\)"),
    ],
)
def test_sets_that_do_not_fit_are_refused(changes: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MixedDataset(part(4), part(4, **changes), fraction=0.5, seed=0)
