import subprocess
import sys

import pytest
from PIL import Image
from transformers import HfArgumentParser

from adsr_hf.data import DataArguments
from adsr_hf.data.labelled import load_splits

EXTRA = {"extra_dataset": "owner/generated"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": ""}, ["dataset=''", "owner/name", "digits"]),
        ({"dataset_config": ""}, ["dataset_config=''", "leave it out"]),
        ({"image_column": ""}, ["image_column=''", "leave it out"]),
        ({"label_column": ""}, ["label_column=''", "leave it out"]),
        ({"image_column": "a", "label_column": "a"}, ["image_column", "label_column", "'a'", "leave one"]),
        ({"train_split": ""}, ["train_split=''"]),
        ({"max_image_pixels": 0}, ["max_image_pixels=0", "Pillow"]),
        ({"validation_fraction": -0.1}, ["validation_fraction=-0.1", "[0, 0.5]"]),
        ({"validation_fraction": 10}, ["validation_fraction=10", "[0, 0.5]"]),
        ({"validation_fraction": float("nan")}, ["validation_fraction=nan"]),
        ({"split_seed": -1}, ["split_seed=-1", "4294967295"]),
        ({"crop_padding": -1}, ["crop_padding=-1", "at least 0"]),
        ({"max_train_images": 0}, ["max_train_images=0", "at least 1"]),
        ({"max_eval_images": -5}, ["max_eval_images=-5", "leave it out"]),
        ({"cache_gigabytes": -1.0}, ["cache_gigabytes=-1.0", "at least 0"]),
        ({"cache_gigabytes": float("nan")}, ["cache_gigabytes=nan"]),
        ({"policy_operations": -1}, ["policy_operations=-1", "at least 0"]),
        ({"policy_operations": 1.5}, ["policy_operations=1.5", "whole number"]),
        ({"policy_magnitude": 31}, ["policy_magnitude=31", "[0, 30]"]),
        ({"policy_magnitude": float("nan")}, ["policy_magnitude=nan"]),
        ({"extra_fraction": 0.5}, ["extra_fraction=0.5", "extra_dataset is not given"]),
        ({"extra_labels": "pseudo"}, ["extra_labels='pseudo'", "extra_dataset is not given"]),
        (EXTRA | {"extra_fraction": 0.0}, ["extra_fraction=0.0", "[0.001, 0.999]"]),
        (EXTRA | {"extra_fraction": 1}, ["extra_fraction=1", "[0.001, 0.999]"]),
        (EXTRA | {"extra_fraction": float("nan")}, ["extra_fraction=nan"]),
        (EXTRA | {"extra_labels": "soft"}, ["extra_labels='soft'", "'own', 'pseudo'"]),
        (EXTRA | {"extra_labels": "pseudo"}, ["extra_labels='pseudo'", "extra_pseudo_labeler=None"]),
        (EXTRA | {"extra_pseudo_labeler": "a/b"}, ["extra_labels='own'", "extra_pseudo_labeler='a/b'"]),
        (EXTRA | {"extra_split": ""}, ["extra_split=''"]),
        ({"extra_dataset": "digits"}, ["extra_dataset='digits'", "extra_split='train'", "held-out"]),
        ({"extra_dataset": "digits", "extra_split": "test"}, ["extra_split='test'", "held-out"]),
        ({"extra_dataset": "digits", "extra_split": "val"}, ["extra_split='val'", "held-out"]),
        (
            {"extra_dataset": "digits", "extra_split": "b", "validation_split": "b"},
            ["extra_split='b'", "name another data set"],
        ),
    ],
)
def test_wrong_values_are_refused_with_field_value_and_range(changes: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
        DataArguments(**({"dataset": "digits"} | changes))
    assert [word for word in words if word not in str(caught.value)] == []


def test_the_argument_parser_of_transformers_reads_them() -> None:
    flags = "--dataset a/b --validation_fraction 0.2 --max_train_images 7 --no_horizontal_flip --image_column img"
    (parsed,) = HfArgumentParser(DataArguments).parse_args_into_dataclasses(flags.split())
    assert parsed == DataArguments(
        dataset="a/b", validation_fraction=0.2, max_train_images=7, horizontal_flip=False, image_column="img"
    )


def test_another_split_of_the_same_data_set_may_be_the_extra_one() -> None:
    arguments = DataArguments(dataset="owner/svhn", extra_dataset="owner/svhn", extra_split="extra")
    assert (arguments.extra_fraction, arguments.extra_labels) == (0.7, "own")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, adsr_hf.data; from adsr_hf.settings.data import DataArguments; "
        "print(sorted({'torch', 'datasets', 'transformers', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_of_the_package_are_attribute_errors() -> None:
    import adsr_hf.data

    with pytest.raises(AttributeError, match="load_images"):
        adsr_hf.data.load_images  # noqa: B018


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation_split": "train"}, ["train_split", "validation_split", "'train'"]),
        ({"validation_split": "test", "test_split": "test"}, ["validation_split", "test_split", "'test'"]),
        ({"test_split": "train"}, ["train_split", "test_split", "'train'"]),
    ],
)
def test_no_split_serves_two_purposes_of_a_training(changes: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
        load_splits(DataArguments(dataset="digits", **changes))
    assert [word for word in words if word not in str(caught.value)] == []


def test_the_limit_of_pixels_is_that_of_pillow() -> None:
    assert DataArguments(dataset="digits").max_image_pixels == Image.MAX_IMAGE_PIXELS
