"""A linear classifier on the features of a frozen checkpoint."""

from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from adsr_hf.data import ImageClassificationDataset
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.runs.linear_probe import head_features, probe_accuracy, probe_checkpoint
from tests.tiny import CLASSES, TinyImages, tiny_model, tiny_vit


def test_it_is_as_right_as_another_librarys_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 10, generator=generator)
    labels = torch.randint(4, (400,), generator=generator)
    features = centres[labels] + 1.5 * torch.randn(400, 10, generator=generator)
    scaled = (features - features[:200].mean(0)) / features[:200].std(0)
    peer = LogisticRegression(C=1 / (2 * 1e-3 * 200), max_iter=1000, tol=1e-8).fit(scaled[:200], labels[:200])
    expected = float((torch.tensor(peer.predict(scaled[200:])) == labels[200:]).float().mean())
    assert probe_accuracy(features[:200], labels[:200], features[200:], labels[200:]) == pytest.approx(
        expected, abs=0.011
    )


def test_features_of_one_value_do_no_harm() -> None:
    features = torch.cat([torch.ones(8, 1), torch.arange(8.0)[:, None]], 1)
    labels = (torch.arange(8) > 3).long()
    assert probe_accuracy(features, labels, features, labels) == 1.0


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_features_are_what_the_head_gets_and_the_model_stays_as_it_was(family: str) -> None:
    model: Any = tiny_model(family).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = TinyImages(5).pixel_values
    features = head_features(model, images.split(2))
    head = model.classifier if family == "vit" else model.classifier[-1]
    with torch.no_grad():
        torch.testing.assert_close(head(features), model.eval()(pixel_values=images).logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_probe_on_one_image_a_class_is_none() -> None:
    images = (255 * torch.rand(CLASSES, 3, 16, 16)).to(torch.uint8)
    space = PixelSpace((0.0,) * 3, (1.0,) * 3)
    dataset = dataset_of(images, list(range(CLASSES)), space)
    assert probe_checkpoint(tiny_vit(), dataset, dataset, space) is None


def dataset_of(images: torch.Tensor, labels: list[int], space: PixelSpace) -> ImageClassificationDataset:
    from adsr_hf.data.image_stores import MemoryStore

    return ImageClassificationDataset(
        MemoryStore(images), labels, pixel_space=space, class_names=[str(index) for index in range(CLASSES)]
    )
