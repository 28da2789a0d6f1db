"""Which images a run reads, and how they become its splits: the fields of a recipe that concern data."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from adsr_hf.settings.checks import at_least, finite_numbers, in_range, one_of
from adsr_hf.settings.setting import setting

DIGITS = "digits"

# The range of numpy's legacy seeds, whose streams are the ones that stay the same from release to release.
_MAX_SEED = 2**32 - 1

# The scale of RandAugment's magnitudes (Cubuk et al. 2020).
_MAX_MAGNITUDE = 30

_EXTRA_LABELS = ("own", "pseudo")
_MIN_FRACTION = 0.001
# What says where images lie, how they are kept, and what is measured on them, may differ when a run is continued.
_FREE_FIELDS = {
    "dataset",
    "extra_dataset",
    "extra_pseudo_labeler",
    "test_split",
    "max_eval_images",
    "cache_gigabytes",
    "max_image_pixels",
}
# Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS: a quarter of a GiB as RGB.
MAX_IMAGE_PIXELS = 89_478_485
# Splits of this name are held out wherever they exist.
HELD_OUT_SPLITS = {"validation", "valid", "val", "dev", "test"}


@dataclass
class DataArguments:
    """What to read and how to split it; every value is checked when the object is built.

    Raises:
        ValueError: for a field outside what is allowed; the message names field, value, range and a way out.
    """

    dataset: str = setting(
        "",
        "Where the images are (required): a Hub name (owner/name), a local folder with one sub-folder for "
        "each class (train/, validation/ and test/ above them are honoured), a folder of Parquet files "
        "(train-*.parquet, test-*.parquet, or one folder a split), one Parquet file, or 'digits' (scikit-learn's "
        "1,797 handwritten digits, 8×8 px; write ./digits for a folder of that name).",
    )
    dataset_config: str | None = setting(None, "Configuration of a Hub data set that has several.")
    image_column: str | None = setting(
        None,
        "Column that holds the images. Left out: the one called image, else the only one of a usual name, "
        "else the only one of images.",
    )
    label_column: str | None = setting(
        None,
        "Column that holds the classes, as names or whole numbers. Left out: the one called label, else "
        "the only one of a usual name, else the only one of classes. The first line of a run says which.",
    )
    train_split: str = setting("train", "Split to train on.")
    validation_split: str | None = setting(
        None,
        "Split for model selection. Left out: the split called validation, valid, val or dev if there is "
        "one, else images held out from the train split.",
    )
    test_split: str | None = setting(
        None,
        "Split for the final figures; selection never sees it. Left out: the split called test, if there "
        "is one. `adsr evaluate` measures on it, or on the only split of a data set that was not trained on.",
    )
    validation_fraction: float = setting(
        0.1,
        "Share of the train split that is held out for model selection when there is no validation split, "
        "in [0, 0.5], class by class and at least one image of each. 0 = no hold-out, hence no model selection.",
    )
    split_seed: int = setting(0, "Seed of the hold-out and of max_*_images. Not changed by the training seed.")
    skip_broken_images: bool = setting(
        False, "Leave out images that cannot be read, and report them, instead of stopping."
    )
    max_image_pixels: int = setting(
        MAX_IMAGE_PIXELS,
        "An image of more pixels (width × height) counts as broken, since a small file may claim to be "
        "huge. The default is Pillow's own limit; raise it where images are truly that large.",
    )
    crop_padding: int = setting(
        4,
        "Train augmentation: pad by this many black pixels and crop at random to the old size; 0 = off. "
        "4 suits 32 px images (Wu et al., ICLR 2024, section 4.1); about an eighth of the side for others.",
    )
    horizontal_flip: bool = setting(
        True,
        "Train augmentation: mirror half of the images. Off where left and right differ in meaning, as in "
        "digits and text.",
    )
    policy_operations: int = setting(
        0,
        "Train augmentation: this many random operations on each image after crop and flip (N of "
        "RandAugment, Cubuk et al., 2020, arXiv 1909.13719); 0 = off, 2 is usual. For long runs of vision "
        "transformers; short fine-tuning usually does without.",
    )
    policy_magnitude: float = setting(
        9.0, "Strength of policy_operations in [0, 30] (M of RandAugment); 0 = none. 9 is usual."
    )
    extra_dataset: str | None = setting(
        None,
        "Second data set for training alone, such as generated images (Gowal et al. 2021, arXiv "
        "2110.09468): named like dataset, or a folder of unsorted images with extra_labels=pseudo. An epoch stays "
        "one pass over dataset. Copies of validation and test images are refused when they are equal pixel for "
        "pixel; nearly equal ones are for you to keep out.",
    )
    extra_config: str | None = setting(None, "Configuration of a Hub data set that is extra_dataset.")
    extra_split: str = setting("train", "Split of extra_dataset to use.")
    extra_fraction: float = setting(
        0.7,
        "Share of extra images in each batch, in [0.001, 0.999]. 0.7 for a million generated images "
        "(Rebuffi et al. 2021, arXiv 2103.01946, section 5).",
    )
    extra_labels: Literal["own", "pseudo"] = setting(
        "own",
        "Where labels of extra images come from: 'own' (extra_dataset's, which must be among those of "
        "dataset) or 'pseudo' (what extra_pseudo_labeler says).",
    )
    extra_pseudo_labeler: str | None = setting(
        None,
        "With extra_labels=pseudo: a classifier with the label names of dataset, as a Hub name or a "
        "folder; the more accurate the better, robust or not.",
    )
    max_train_images: int | None = setting(
        None, "Keep this many train images, drawn class by class: for smoke runs. Left out: all."
    )
    max_eval_images: int | None = setting(None, "The same for the validation and the test split, each.")
    cache_gigabytes: float = setting(
        4.0,
        "Decoded images of a split are kept in memory (one byte a value) up to this many gigabytes (10^9 "
        "bytes); a larger split is decoded at each access, so give it dataloader_num_workers. 0 = never keep.",
    )

    def __post_init__(self) -> None:
        finite_numbers(self)
        if not self.dataset:
            raise ValueError(
                f"dataset={self.dataset!r} must be given: a Hub name (owner/name), a folder of images or of Parquet "
                f"files, a Parquet file, or {DIGITS!r}"
            )
        if self.dataset_config == "":
            raise ValueError("dataset_config='' must be a configuration's name; leave it out for the only one")
        self._check_columns()
        self._check_splits()
        self._check_numbers()
        self._check_policy()
        self._check_extra()

    def training_settings(self) -> dict[str, Any]:
        """The fields that decide which images a step sees, and how they are changed, as JSON values."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _FREE_FIELDS}

    def _check_columns(self) -> None:
        for name in ("image_column", "label_column"):
            if getattr(self, name) == "":
                raise ValueError(f"{name}='' must be a column's name; leave it out to have the column found")
        if self.image_column is not None and self.image_column == self.label_column:
            raise ValueError(
                f"image_column and label_column are both {self.image_column!r}, but must be two columns; leave one "
                "out to have it found"
            )

    def _check_splits(self) -> None:
        named = {name: getattr(self, name) for name in ("train_split", "validation_split", "test_split")}
        for name, value in named.items():
            if value == "":
                raise ValueError(f"{name}='' must be a split's name; leave it out for the default")

    def check_purposes(self) -> None:
        """Refuse one split for two purposes, for training; a measurement alone may name any.

        Raises:
            ValueError: when two of train_split, validation_split and test_split are the same.
        """
        named = {name: getattr(self, name) for name in ("train_split", "validation_split", "test_split")}
        given = [(name, value) for name, value in named.items() if value is not None]
        for position, (name, value) in enumerate(given):
            for other, other_value in given[position + 1 :]:
                if value == other_value:
                    raise ValueError(
                        f"{name} and {other} are both {value!r}, but no image may serve two purposes: figures on "
                        "images that training or selection has seen say nothing about new ones; name another split, "
                        "or leave validation_split out to hold images out from train"
                    )

    def _check_numbers(self) -> None:
        at_least("max_image_pixels", self.max_image_pixels, 1, fix=f"{MAX_IMAGE_PIXELS} is Pillow's own limit")
        if not 0 <= self.validation_fraction <= 0.5:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} must lie in [0, 0.5]: it is a share of the train "
                "split, such as 0.1; 0 holds nothing out"
            )
        if not 0 <= self.split_seed <= _MAX_SEED:
            raise ValueError(f"split_seed={self.split_seed} must lie in [0, {_MAX_SEED}]; 0 is the default")
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding={self.crop_padding} must be at least 0 pixels; 0 turns the crop off")
        for name in ("max_train_images", "max_eval_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1; leave it out to use every image")
        if not self.cache_gigabytes >= 0:
            raise ValueError(
                f"cache_gigabytes={self.cache_gigabytes} must be at least 0; 0 decodes images at each access"
            )

    def _check_policy(self) -> None:
        at_least("policy_operations", self.policy_operations, 0, fix="2 is usual, 0 turns the policy off")
        in_range(
            "policy_magnitude", self.policy_magnitude, low=0, high=_MAX_MAGNITUDE, fix="9 is usual, 0 changes nothing"
        )

    def _check_extra(self) -> None:
        if self.extra_dataset is None:
            given = [
                item.name
                for item in fields(self)
                if item.name.startswith("extra_") and getattr(self, item.name) != item.default
            ]
            if given:
                raise ValueError(
                    f"{given[0]}={getattr(self, given[0])!r} is about extra images, but extra_dataset is not given; "
                    "name it, or leave the field out"
                )
            return
        for name in ("extra_dataset", "extra_config", "extra_split", "extra_pseudo_labeler"):
            if getattr(self, name) == "":
                raise ValueError(f"{name}='' must be a name; leave it out for the default")
        in_range(
            "extra_fraction",
            self.extra_fraction,
            low=_MIN_FRACTION,
            high=1 - _MIN_FRACTION,
            fix="it is the share of extra images in each batch, such as 0.7; without extra_dataset there are none",
        )
        one_of("extra_labels", self.extra_labels, _EXTRA_LABELS)
        if (self.extra_labels == "pseudo") != (self.extra_pseudo_labeler is not None):
            raise ValueError(
                f"extra_labels={self.extra_labels!r} and extra_pseudo_labeler={self.extra_pseudo_labeler!r} do not go "
                "together: 'pseudo' needs a classifier there, and 'own' needs none"
            )
        self._check_extra_is_another()

    def _check_extra_is_another(self) -> None:
        used = {self.train_split, self.validation_split, self.test_split} | HELD_OUT_SPLITS
        # A configuration that is left out is the only one or the default: it may be any of them.
        is_other_config = self.extra_config != self.dataset_config and None not in (
            self.extra_config,
            self.dataset_config,
        )
        if self.extra_split not in used or is_other_config:
            return
        if place_of(str(self.extra_dataset)) == place_of(self.dataset):
            raise ValueError(
                f"extra_dataset={self.extra_dataset!r} with extra_split={self.extra_split!r} is what dataset trains "
                "or measures on already, and no held-out image may be trained on; name another data set, or a split "
                f"of its own, such as 'extra' or 'unlabeled'{self._config_advice()}"
            )

    def _config_advice(self) -> str:
        if self.dataset_config is None and self.extra_config is None:
            return ""
        return (
            f", or, where dataset_config={self.dataset_config!r} and extra_config={self.extra_config!r} have no image "
            "in common, name two different ones"
        )


def place_of(name: str) -> str:
    """A Hub name as it is, and of what is local the path without links, ``..`` and slashes too many."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name != DIGITS and path.exists() else name
