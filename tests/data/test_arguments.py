import subprocess
import sys

import pytest
from transformers import HfArgumentParser

from adsr_hf.data import DataArguments


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": ""}, ["dataset=''", "owner/name", "digits"]),
        ({"dataset_config": ""}, ["dataset_config=''", "leave it out"]),
        ({"image_column": ""}, ["image_column=''", "leave it out"]),
        ({"label_column": ""}, ["label_column=''", "leave it out"]),
        ({"image_column": "a", "label_column": "a"}, ["image_column", "label_column", "'a'", "leave one"]),
        ({"train_split": ""}, ["train_split=''"]),
        ({"validation_split": "train"}, ["train_split", "validation_split", "'train'"]),
        ({"validation_split": "test", "test_split": "test"}, ["validation_split", "test_split", "'test'"]),
        ({"test_split": "train"}, ["train_split", "test_split", "'train'"]),
        ({"validation_fraction": -0.1}, ["validation_fraction=-0.1", "[0, 0.5]"]),
        ({"validation_fraction": 10}, ["validation_fraction=10", "[0, 0.5]"]),
        ({"validation_fraction": float("nan")}, ["validation_fraction=nan"]),
        ({"split_seed": -1}, ["split_seed=-1", "4294967295"]),
        ({"crop_padding": -1}, ["crop_padding=-1", "at least 0"]),
        ({"max_train_images": 0}, ["max_train_images=0", "at least 1"]),
        ({"max_eval_images": -5}, ["max_eval_images=-5", "leave it out"]),
        ({"cache_gigabytes": -1.0}, ["cache_gigabytes=-1.0", "at least 0"]),
        ({"cache_gigabytes": float("nan")}, ["cache_gigabytes=nan"]),
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


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, adsr_hf.data; from adsr_hf.data.arguments import DataArguments; "
        "print(sorted({'torch', 'datasets', 'transformers', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_of_the_package_are_attribute_errors() -> None:
    import adsr_hf.data

    with pytest.raises(AttributeError, match="load_images"):
        adsr_hf.data.load_images  # noqa: B018
