"""Which images a run reads, and how they become its splits: the fields of a recipe that concern data."""

from dataclasses import dataclass, field

DIGITS = "digits"

# The range of numpy's legacy seeds, whose streams are the ones that stay the same from release to release.
_MAX_SEED = 2**32 - 1


@dataclass
class DataArguments:
    """What to read and how to split it; every value is checked when the object is built.

    Raises:
        ValueError: for a field outside what is allowed; the message names field, value, range and a way out.
    """

    dataset: str = field(
        default="",
        metadata={
            "help": "Where the images are (required): a Hub name (owner/name), a local folder with one sub-folder for "
            "each class (train/, validation/ and test/ above them are honoured), a folder of Parquet files "
            "(train-*.parquet, test-*.parquet, or one folder a split), one Parquet file, or 'digits' (scikit-learn's "
            "1,797 handwritten digits, 8×8 px; write ./digits for a folder of that name)."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of a Hub data set that has several."}
    )
    image_column: str | None = field(
        default=None,
        metadata={"help": "Column that holds the images. Left out: found by its type, else by a usual name."},
    )
    label_column: str | None = field(
        default=None,
        metadata={
            "help": "Column that holds the classes, as names or whole numbers. Left out: found by its type, else by a "
            "usual name."
        },
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    validation_split: str | None = field(
        default=None,
        metadata={
            "help": "Split for model selection. Left out: the split called validation, valid, val or dev if there is "
            "one, else images held out from the train split."
        },
    )
    test_split: str | None = field(
        default=None,
        metadata={
            "help": "Split for the final figures; selection never sees it. Left out: the split called test, if there "
            "is one."
        },
    )
    validation_fraction: float = field(
        default=0.1,
        metadata={
            "help": "Share of the train split that is held out for model selection when there is no validation split, "
            "in [0, 0.5], class by class and at least one image of each. 0 = no hold-out, hence no model selection."
        },
    )
    split_seed: int = field(
        default=0, metadata={"help": "Seed of the hold-out and of max_*_images. Not changed by the training seed."}
    )
    skip_broken_images: bool = field(
        default=False, metadata={"help": "Leave out images that cannot be read, and report them, instead of stopping."}
    )
    crop_padding: int = field(
        default=4,
        metadata={
            "help": "Train augmentation: pad by this many black pixels and crop at random to the old size; 0 = off. "
            "4 suits 32 px images (Wu et al., ICLR 2024, section 4.1); about an eighth of the side for others."
        },
    )
    horizontal_flip: bool = field(
        default=True,
        metadata={
            "help": "Train augmentation: mirror half of the images. Off where left and right differ in meaning, as in "
            "digits and text."
        },
    )
    max_train_images: int | None = field(
        default=None,
        metadata={"help": "Keep this many train images, drawn class by class: for smoke runs. Left out: all."},
    )
    max_eval_images: int | None = field(
        default=None,
        metadata={"help": "The same for the validation and the test split, each."},
    )
    cache_gigabytes: float = field(
        default=4.0,
        metadata={
            "help": "Decoded images of a split are kept in memory (one byte a value) up to this many gigabytes (10^9 "
            "bytes); a larger split is decoded at each access, so give it dataloader_num_workers. 0 = never keep."
        },
    )

    def __post_init__(self) -> None:
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
