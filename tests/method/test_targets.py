"""Rectified labels against a float64 reference, and the properties that the paper promises for all of them."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from torch import Tensor

from adsr_hf.method.targets import one_hot_labels, rectify, rectify_labels, smooth_labels

TOLERANCE = 1e-6


def reference(logits: np.ndarray, labels: np.ndarray, temperature: float, interpolation: float) -> np.ndarray:
    """Equations 4 to 6, image by image, in float64."""
    targets = []
    for row, label in zip(logits.astype(np.float64) / temperature, labels, strict=True):
        exponentials = np.exp(row - row.max())
        probabilities = exponentials / exponentials.sum()
        weight = min(max(interpolation - (probabilities.max() - probabilities[label]), 0.0), 1.0)
        one_hot = np.eye(len(row))[label]
        targets.append(weight * probabilities + (1 - weight) * one_hot)
    return np.array(targets)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, float, float]:
    """Teacher's logits up to ±60, so that probabilities saturate; labels; temperature; interpolation."""
    images, classes = draw(st.integers(1, 5)), draw(st.integers(2, 9))
    logits = draw(st_np.arrays(np.float32, (images, classes), elements=st.floats(-60, 60, width=32)))
    labels = draw(st_np.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    return torch.from_numpy(logits), torch.from_numpy(labels), draw(st.floats(0.25, 4)), draw(st.floats(0, 1))


@given(cases())
def test_equals_the_float64_reference(case: tuple[Tensor, Tensor, float, float]) -> None:
    logits, labels, temperature, interpolation = case
    targets = rectify_labels(logits, labels, temperature=temperature, interpolation=interpolation)
    expected = reference(logits.numpy(), labels.numpy(), temperature, interpolation)
    assert targets.dtype == torch.float32
    # Rounding of a logit of 60 / 0.25 is what float32 allows; at ordinary logits it is far below.
    np.testing.assert_allclose(targets.numpy(), expected, atol=2e-5)


def test_equals_the_float64_reference_at_ordinary_logits() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(500, 10)) * 3, generator.integers(0, 10, 500)
    for temperature, interpolation in [(2.0, 0.7), (1.0, 0.95), (2.5, 1.0), (1.5, 0.0)]:
        targets = rectify_labels(
            torch.from_numpy(logits).float(),
            torch.from_numpy(labels),
            temperature=temperature,
            interpolation=interpolation,
        )
        expected = reference(logits, labels, temperature, interpolation)
        np.testing.assert_allclose(targets.numpy(), expected, atol=TOLERANCE)


@given(cases())
def test_properties(case: tuple[Tensor, Tensor, float, float]) -> None:
    logits, labels, temperature, interpolation = case
    rectified = rectify(logits, labels, temperature=temperature, interpolation=interpolation)
    targets, weights = rectified.targets, rectified.interpolation
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)), atol=TOLERANCE, rtol=0)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (weights <= interpolation + TOLERANCE).all()
    true = targets.gather(1, labels[:, None]).squeeze(1)
    assert (true >= targets.amax(1) - TOLERANCE).all()
    torch.testing.assert_close(rectified.tempered, torch.softmax(logits / temperature, 1))


@given(cases())
def test_lead_over_a_wrong_teachers_top_class(case: tuple[Tensor, Tensor, float, float]) -> None:
    """(1 − λ) + (p_k − p_y)(1 − λ_i), which is above 1 where λ_i is cut off at 0: there it is 1."""
    logits, _, temperature, interpolation = case
    labels = logits.argmin(1)
    rectified = rectify(logits.double(), labels, temperature=temperature, interpolation=interpolation)
    top = logits.argmax(1, keepdim=True)
    p, q = rectified.tempered.double(), rectified.targets.double()
    wrongness = (p.gather(1, top) - p.gather(1, labels[:, None])).squeeze(1)
    lead = (q.gather(1, labels[:, None]) - q.gather(1, top)).squeeze(1)
    expected = 1 - interpolation + wrongness * (1 - rectified.interpolation)
    expected = torch.where(wrongness > interpolation, 1.0, expected)
    differs = (labels != top.squeeze(1)) & ((wrongness - interpolation).abs() > TOLERANCE)
    torch.testing.assert_close(lead[differs], expected[differs], atol=TOLERANCE, rtol=0)


@given(cases())
def test_a_right_teacher_gets_the_whole_interpolation(case: tuple[Tensor, Tensor, float, float]) -> None:
    logits, _, temperature, interpolation = case
    rectified = rectify(logits, logits.argmax(1), temperature=temperature, interpolation=interpolation)
    expected = torch.full((len(logits),), interpolation, dtype=torch.float32)
    torch.testing.assert_close(rectified.interpolation, expected, atol=TOLERANCE, rtol=0)


def test_a_wrong_and_confident_teacher_is_ignored() -> None:
    logits = torch.tensor([[30.0, 0.0, -5.0], [0.0, 50.0, 0.0]])
    labels = torch.tensor([1, 2])
    targets = rectify_labels(logits, labels, temperature=1.0, interpolation=0.9)
    torch.testing.assert_close(targets, torch.eye(3)[labels], atol=TOLERANCE, rtol=0)


def test_by_hand() -> None:
    """Teacher (½, ¼, ¼) at τ = 1 with label 1: λ_i = 0.75 − (½ − ¼) = ½, so q = (¼, 5/8, 1/8)."""
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    rectified = rectify(logits, torch.tensor([1]), temperature=1.0, interpolation=0.75)
    torch.testing.assert_close(rectified.interpolation, torch.tensor([0.5]))
    torch.testing.assert_close(rectified.targets, torch.tensor([[0.25, 0.625, 0.125]]))
    # At τ = ½ the teacher's odds are squared: (4, 1, 1) / 6, and λ_i = 0.75 − ½ = ¼.
    rectified = rectify(logits, torch.tensor([1]), temperature=0.5, interpolation=0.75)
    torch.testing.assert_close(rectified.targets, torch.tensor([[4 / 24, 19 / 24, 1 / 24]]))


def test_no_gradient_reaches_the_teacher() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    rectified = rectify(logits, torch.zeros(4, dtype=torch.int64), temperature=2.0, interpolation=0.8)
    assert not any(t.requires_grad for t in (rectified.targets, rectified.interpolation, rectified.tempered))


def test_bfloat16_logits_are_rectified_in_float32() -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(8) % 5
    torch.testing.assert_close(
        rectify_labels(logits, labels, temperature=1.5, interpolation=0.8),
        rectify_labels(logits.float(), labels, temperature=1.5, interpolation=0.8),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"interpolation": -0.1}, "interpolation=-0.1"),
        ({"interpolation": 1.1}, "interpolation=1.1"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "(2, 4) and (3,)"),
        ({"teacher_logits": torch.zeros(2, 4, 1)}, "(2, 4, 1)"),
    ],
)
def test_what_is_refused(change: dict[str, Any], named: str) -> None:
    arguments = {"teacher_logits": torch.zeros(2, 4), "labels": torch.zeros(2, dtype=torch.int64)}
    arguments |= {"temperature": 1.0, "interpolation": 0.5} | change
    with pytest.raises(ValueError, match=re.escape(named)):
        rectify_labels(**arguments)


def test_smoothing_by_hand() -> None:
    smoothed = smooth_labels(torch.tensor([2, 0]), 4, smoothing=0.2)
    torch.testing.assert_close(smoothed, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))


def test_no_smoothing_is_one_hot() -> None:
    labels = torch.tensor([1, 0])
    expected = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.equal(smooth_labels(labels, 3, smoothing=0.0), expected)
    assert torch.equal(one_hot_labels(labels, 3), expected)
