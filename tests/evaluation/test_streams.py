"""Data sets without a length."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from adsr_hf.attacks import ThreatModel
from adsr_hf.evaluation import streams
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.suite import evaluate
from tests.evaluation.subjects import SPACE, images, trained_model


class Stream(IterableDataset):
    """Counts how often it is read; with a length, as some are, that does not help."""

    def __init__(self, items: Any) -> None:
        self.items, self.reads = items, 0

    def __iter__(self) -> Iterator[Any]:
        self.reads += 1
        return iter(self.items)


class LongStream(Stream):
    def __len__(self) -> int:
        return len(self.items)


@pytest.mark.parametrize("kind", [Stream, LongStream])
def test_a_stream_is_measured_as_its_list_is(kind: type[Stream]) -> None:
    model, items, plan = trained_model(), images(20), Plan((ThreatModel("Linf", 0.1),), num_steps=2)
    stream, held_out = kind(items), kind(items[:10])
    streamed = evaluate(model, stream, plan, pixel_space=SPACE, validation=held_out, show_progress=False)
    whole = evaluate(model, items, plan, pixel_space=SPACE, validation=items[:10], show_progress=False)
    assert streamed.table.equals(whole.table)
    assert streamed.summary["temperature"] == whole.summary["temperature"]
    assert (stream.reads, held_out.reads) == (1, 1)


def test_a_stream_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMED", 50)
    with pytest.raises(ValueError, match=r"validation is a stream that does not end within 50 items.*islice"):
        streams.as_sized(Stream(itertools.repeat({"labels": 0})), "validation")
    assert len(streams.as_sized(Stream(range(50)), "dataset")) == 50


def test_what_has_a_length_is_left_as_it_is() -> None:
    class Sized(Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            return index

    for dataset in ([1], Sized()):
        assert streams.as_sized(dataset, "dataset") is dataset


def test_what_is_no_data_set_is_named() -> None:
    with pytest.raises(TypeError, match="dataset is a builtin_function_or_method"):
        streams.as_sized(torch.zeros, "dataset")
