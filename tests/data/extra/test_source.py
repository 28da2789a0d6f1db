from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as PillowImage
from transformers import pipeline

from adsr_hf.data import DataArguments, ImageData, MixedDataset, load_image_data
from tests.tiny import tiny_processor, tiny_vit

Folder = Callable[..., Path]
CLASSES = ["cat", "dog", "emu"]


@pytest.fixture
def pets(image_folder: Folder) -> Path:
    return image_folder({f"{split}/{name}": 6 for split in ("train", "test") for name in CLASSES})


@pytest.fixture
def load(make_processor: Callable[..., Any], pets: Path) -> Callable[..., ImageData]:
    def run(extra: Path | None, processor: dict | None = None, **changes: Any) -> ImageData:
        settings: dict[str, Any] = {"dataset": str(pets), "crop_padding": 2}
        settings |= {"extra_dataset": str(extra), "extra_fraction": 0.5} if extra is not None else {}
        image_processor = make_processor(8, **(processor or {}))
        return load_image_data(DataArguments(**(settings | changes)), image_processor, seed=1, show_progress=False)

    return run


@pytest.fixture
def unsorted(tmp_path: Path) -> Path:
    """Images of one colour each in no class folders, at two depths, with a hidden file and a text file among them."""
    root = tmp_path / "generated"
    (root / "deep/er").mkdir(parents=True)
    colours = np.random.default_rng(0).integers(0, 256, (7, 3)).tolist()
    for number, colour in enumerate(colours):
        folder = root / ("deep/er" if number % 2 else ".")
        PillowImage.new("RGB", (20, 14), tuple(colour)).save(folder / f"{number}.png")
    (root / "prompts.txt").write_text("a cat")
    (root / ".hidden.png").write_bytes(b"no image")
    return root


@pytest.fixture
def labeler(tmp_path: Path) -> Path:
    """A classifier with the classes in another order, for another size, mean and standard deviation."""
    names = ["dog", "emu", "cat"]
    model = tiny_vit(num_labels=3, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    colours = torch.rand((64, 3, 1, 1), generator=torch.Generator().manual_seed(0)).expand(-1, -1, 16, 16)
    with torch.no_grad():
        # Far apart, and centred: each class is some image's answer, and no answer a near tie.
        model.classifier.weight.mul_(300)
        model.classifier.bias.sub_(model(pixel_values=(colours - 0.5) / 0.25).logits.mean(0))
    model.save_pretrained(tmp_path / "labeler")
    tiny_processor().save_pretrained(tmp_path / "labeler")
    return tmp_path / "labeler"


def extra_of(data: ImageData) -> Any:
    assert isinstance(data.train, MixedDataset)
    return data.train.extra


def test_own_labels_are_matched_by_name(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    data = load(image_folder({"train/emu": 3, "train/cat": 5}, name="generated"))
    assert data.summary == (
        "pets: 15 train / 3 validation / 18 test images, 3 classes ('cat', 'dog', 'emu'), 8×8 px; 0.5 of each batch "
        "from 8 extra images (generated, its own labels)"
    )
    assert [CLASSES[label] for label in extra_of(data).labels] == ["cat"] * 5 + ["emu"] * 3
    assert len(data.train) == 30
    assert data.train[0]["pixel_values"].shape == (3, 8, 8)


def test_nothing_but_training_changes(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    with_extra, without = load(image_folder({"train/cat": 5}, name="generated")), load(None)
    for name in ("validation", "test"):
        assert getattr(with_extra, name).fingerprint == getattr(without, name).fingerprint
    assert with_extra.train.base.fingerprint == without.train.fingerprint
    assert extra_of(with_extra).augmentation == without.train.augmentation


@pytest.mark.parametrize("cache_gigabytes", [4.0, 0.0])
def test_pseudo_labels_are_what_the_pipeline_says(
    unsorted: Path, labeler: Path, load: Callable[..., ImageData], cache_gigabytes: float
) -> None:
    data = load(unsorted, extra_labels="pseudo", extra_pseudo_labeler=str(labeler), cache_gigabytes=cache_gigabytes)
    classify = pipeline("image-classification", model=str(labeler))
    files = sorted(path for path in unsorted.rglob("*.png") if not path.name.startswith("."))
    answers = [classify(PillowImage.open(path))[0] for path in files]
    found = [CLASSES[label] for label in extra_of(data).labels]
    assert found == [answer["label"] for answer in answers]
    assert len(set(found)) > 1
    assert data.summary.endswith("0.5 of each batch from 7 extra images (generated, labels by labeler)")
    confidence = np.mean([answer["score"] for answer in answers])
    assert data.notes[-1] == f"extra: labels by labeler, mean confidence {confidence:.3f}"


def test_pseudo_labels_skip_broken_images(unsorted: Path, labeler: Path, load: Callable[..., ImageData]) -> None:
    settings: dict[str, Any] = {"extra_labels": "pseudo", "extra_pseudo_labeler": str(labeler)}
    whole = load(unsorted, **settings)
    (unsorted / "2.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"extra\[1\].*2\.png"):
        load(unsorted, **settings)
    rest = load(unsorted, skip_broken_images=True, **settings)
    assert extra_of(rest).labels.tolist() == extra_of(whole).labels[[0, 2, 3, 4, 5, 6]].tolist()
    assert any(note.startswith("skipped: image extra[1]") for note in rest.notes)


@pytest.mark.parametrize("labels", ["own", "pseudo"])
def test_a_table_without_labels(
    tmp_path: Path, unsorted: Path, labeler: Path, load: Callable[..., ImageData], labels: str
) -> None:
    rows = [{"bytes": path.read_bytes(), "path": None} for path in sorted(unsorted.glob("[0-9].png"))]
    (tmp_path / "table").mkdir()
    table = Dataset.from_dict(
        {"image": rows, "seed": [1] * len(rows)}, Features({"image": Image(), "seed": Value("int64")})
    )
    table.to_parquet(tmp_path / "table" / "train-0.parquet")
    if labels == "own":
        with pytest.raises(ValueError, match=r"extra_dataset='.*table': no label column.*extra_labels='pseudo'"):
            load(tmp_path / "table")
        return
    data = load(tmp_path / "table", extra_labels="pseudo", extra_pseudo_labeler=str(labeler))
    assert len(extra_of(data)) == len(rows)


def test_other_classes_are_refused_by_name(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    with pytest.raises(ValueError, match=r"among those of dataset, 'cat', 'dog', 'emu', but 'fox' are not"):
        load(image_folder({"train/cat": 2, "train/fox": 2}, name="generated"))


def test_a_labeler_of_other_classes_is_refused_with_both_lists(
    tmp_path: Path, unsorted: Path, load: Callable[..., ImageData]
) -> None:
    tiny_vit().save_pretrained(tmp_path / "other")
    tiny_processor().save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"label names \['LABEL_0'.*dataset has \['cat', 'dog', 'emu'\]"):
        load(unsorted, extra_labels="pseudo", extra_pseudo_labeler=str(tmp_path / "other"))


def test_an_unknown_labeler_is_named(unsorted: Path, tmp_path: Path, load: Callable[..., ImageData]) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    with pytest.raises(ValueError, match=r"extra_pseudo_labeler='.*nowhere' cannot be loaded"):
        load(unsorted, extra_labels="pseudo", extra_pseudo_labeler=str(nowhere))


def test_other_sizes_are_refused(image_folder: Folder, load: Callable[..., ImageData]) -> None:
    extra = image_folder({"train/cat": 2}, name="generated", size=(9, 9))
    with pytest.raises(ValueError, match=r"train has 12×10 px and extra_dataset has 9×9 px"):
        load(extra, processor={"do_resize": False})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"extra_dataset": "digits", "extra_split": "more"},
            r"extra_dataset='digits': extra_split='more' is not among its splits: test, train",
        ),
        (
            {"extra_dataset": "no such/place/at all"},
            r"extra_dataset='no such/place/at all': .*neither an existing path",
        ),
        ({"extra_config": "small"}, r"extra_dataset='.*generated': .*'small' is for data sets on the Hub"),
    ],
)
def test_places_that_lead_nowhere(
    image_folder: Folder, load: Callable[..., ImageData], changes: dict, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        load(image_folder({"train/cat": 2, "test/cat": 2}, name="generated"), **changes)


def test_a_folder_without_images(tmp_path: Path, labeler: Path, load: Callable[..., ImageData]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no images"):
        load(tmp_path / "empty", extra_labels="pseudo", extra_pseudo_labeler=str(labeler))
