import ast
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from adsr_hf.data.extra.pseudo_labels import PseudoLabeler
from adsr_hf.evaluation.checkpoint import evaluate_checkpoint
from adsr_hf.method.fixed_teacher import load_fixed_teacher
from adsr_hf.networks.pixels import PixelSpace
from adsr_hf.networks.pretrained import (
    PretrainedError,
    load_classifier,
    load_config,
    load_for_new_head,
    load_image_processor,
)
from adsr_hf.runs.model import load_model, load_processor
from adsr_hf.runs.recipe import load_recipe
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.model import ModelArguments
from adsr_hf.study.arguments import StudyEvaluation
from adsr_hf.study.preflight import _check_undefended
from tests.tiny import tiny_processor, tiny_vit

ROOT = Path(__file__).resolve().parents[2]
LOADERS = {"from_pretrained", "from_config", "load_dataset", "load_dataset_builder"}
# A pickle that is opened runs what it names; evaluate.load fetches code, and has no argument that would forbid it.
FORBIDDEN = {"evaluate.load", "torch.load", "torch.hub.load", "pickle.load", "pickle.loads", "transformers.pipeline"}


def calls(text: str) -> Iterator[tuple[ast.Call, str]]:
    """Every call, with the dotted name that it is written by."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def unsafe_calls(text: str) -> list[str]:
    """Loading calls that leave it to somebody else whether remote code is run, or that open pickles."""
    found = []
    for call, name in calls(text):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        last = name.rpartition(".")[2]
        if last in LOADERS and given.get("trust_remote_code") != "False":
            found.append(f"{name} in line {call.lineno} without trust_remote_code=False")
        if last == "from_pretrained" and "odel" in name.rpartition(".")[0] and given.get("use_safetensors") != "True":
            found.append(f"{name} in line {call.lineno} without use_safetensors=True")
        if name in FORBIDDEN or given.get("trust_remote_code", "False") != "False":
            found.append(f"{name} in line {call.lineno}")
    return found


@pytest.mark.parametrize("room", ["adsr_hf", "benchmarks"])
def test_no_call_of_the_project_lets_remote_code_run(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    unsafe = {str(path.relative_to(ROOT)): unsafe_calls(path.read_text(encoding="utf-8")) for path in files}
    assert {path: found for path, found in unsafe.items() if found} == {}


def test_the_search_for_unsafe_calls_finds_them() -> None:
    text = """
AutoModelForImageClassification.from_pretrained(name, trust_remote_code=False)
AutoConfig.from_pretrained(name)
AutoImageProcessor.from_pretrained(name, trust_remote_code=trusted)
datasets.load_dataset(name)
evaluate.load("accuracy")
"""
    assert [line.split(" in ")[1].split()[1] for line in unsafe_calls(text)] == ["2", "3", "4", "4", "5", "6"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An ordinary checkpoint with its processor."""
    folder = tmp_path / "checkpoint"
    tiny_vit().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def with_own_code(checkpoint: Path) -> tuple[Path, Path]:
    """A checkpoint of an architecture that its own code defines, and the file that this code would write."""
    marker = checkpoint.parent / "code-was-run"
    (checkpoint / "own.py").write_text(
        "from transformers import PretrainedConfig\n"
        f"open({str(marker)!r}, 'w').close()\n"
        "class OwnConfig(PretrainedConfig):\n    model_type = 'own'\n",
        encoding="utf-8",
    )
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return checkpoint, marker


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["evaluate", "{model}", "--dataset", "digits", "--threat", "Linf 8/255"], marks=pytest.mark.slow),
        ["train", "--model", "{model}", "--dataset", "digits", "--max_steps", "1"],
    ],
    ids=["evaluate", "train"],
)
def test_a_yes_on_standard_input_runs_no_code_of_a_model(words: list[str], with_own_code: tuple[Path, Path]) -> None:
    folder, marker = with_own_code
    command = [word.format(model=folder) for word in words] + ["--output_dir", str(folder.parent / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "adsr_hf", *command],
        input="y\n" * 20,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert not marker.exists()
    assert done.returncode != 0
    assert "auto_map in config.json names own.OwnConfig" in done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_no_flag_and_no_recipe_turns_remote_code_on(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = f"dataset: digits\nmodel_type: vit\nimage_size: 16\noutput_dir: {tmp_path}\n"
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="trust_remote_code"):
        load_recipe(recipe, ["--trust_remote_code", "true"])
    recipe.write_text(text + "trust_remote_code: true\n", encoding="utf-8")
    with pytest.raises(UsageError, match="trust_remote_code"):
        load_recipe(recipe, [])


@pytest.mark.parametrize(
    "field", [{"auto_map": {"AutoModelForImageClassification": "own--own.Own"}}, {"trust_remote_code": True}]
)
def test_no_config_field_names_code_or_turns_it_on(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"does not know: {next(iter(field))}"):
        load_model(ModelArguments(model_type="vit", image_size=16, model_config=field), ["a", "b"])


DOORS: dict[str, Callable[[str], Any]] = {
    "config": load_config,
    "processor": load_image_processor,
    "classifier": load_classifier,
    "new head": lambda name: load_for_new_head(name, num_labels=7),
    "train --model": lambda name: load_model(ModelArguments(model=name), ["a", "b"]),
    "its processor": lambda name: load_processor(ModelArguments(model=name)),
    "pseudo-labels": lambda name: PseudoLabeler(name, ["a", "b"]),
    "fixed teacher": lambda name: load_fixed_teacher(name, tiny_vit(), PixelSpace.from_processor(tiny_processor())),
    "undefended of a study": lambda name: _check_undefended(StudyEvaluation(undefended=name, sanity=True)),
    "checkpoint": lambda name: evaluate_checkpoint(
        name, *described(), weights="published", announce=lambda line: None
    ),
    "undefended": lambda name: _undefended(name),
}


def described() -> tuple[Any, Any]:
    from adsr_hf.data import DataArguments
    from adsr_hf.settings.evaluation import EvaluateArguments

    return DataArguments(dataset="digits"), EvaluateArguments(threat=["Linf 8/255"])


def _undefended(name: str) -> Any:
    from adsr_hf.evaluation import checkpoint

    return checkpoint._undefended(name, torch.device("cpu"))


WEIGHTLESS = {"config", "processor"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_folder_that_names_code_is_refused_at_every_door(
    door: str, file: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where transformers has the architecture, and would only have ignored the code."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked a question"))
    content = json.loads((checkpoint / file).read_text(encoding="utf-8"))
    content["auto_map"] = {"AutoImageProcessor": "own.Own"}
    (checkpoint / file).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"auto_map in {file} names own\.Own"):
        DOORS[door](str(checkpoint))


class Harmful:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("door", [door for door in DOORS if door not in WEIGHTLESS])
def test_pickled_weights_are_refused_at_every_door(door: str, checkpoint: Path) -> None:
    marker = checkpoint.parent / "pickle-was-opened"
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(marker)))
    with pytest.raises(ValueError, match=r"(?s)(?=.*pytorch_model\.bin)(?=.*no model\.safetensors).*save_pretrained"):
        DOORS[door](str(checkpoint))
    assert not marker.exists()


def test_what_the_message_says_converts_pickled_weights(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    model = tiny_vit(seed=3)
    (checkpoint / "model.safetensors").unlink()
    torch.save(model.state_dict(), checkpoint / "pytorch_model.bin")
    AutoModelForImageClassification.from_pretrained(checkpoint).save_pretrained(tmp_path / "converted")
    torch.testing.assert_close(load_classifier(tmp_path / "converted").state_dict(), model.state_dict())


@pytest.mark.parametrize("file", ["pytorch_model.bin", "../other/model.safetensors", "/other/model.safetensors"])
@pytest.mark.parametrize("where", ["config.json", "model.safetensors.index.json"])
def test_weights_are_read_from_safetensors_in_the_folder_alone(where: str, file: str, checkpoint: Path) -> None:
    if where == "config.json":
        content = json.loads((checkpoint / where).read_text(encoding="utf-8")) | {"transformers_weights": file}
    else:
        content = {"metadata": {}, "weight_map": {"classifier.weight": file}}
    (checkpoint / where).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PretrainedError, match="only safetensors files in the same folder"):
        load_classifier(checkpoint)


def test_shards_of_safetensors_are_read(checkpoint: Path) -> None:
    model = tiny_vit(seed=4)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="10KB")
    assert (checkpoint / "model.safetensors.index.json").is_file()
    torch.testing.assert_close(load_classifier(checkpoint).state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"configuration_files": ["config.4.0.0.json"]}, r"names other configs by version.*config\.4\.0\.0\.json"),
        ({"nested": [{"auto_map": {"AutoModel": "own.Own"}}]}, r"auto_map in config\.json names own\.Own"),
        (
            {"attn_implementation": "owner/kernel@main"},
            r"in config\.json to be computed by owner/kernel@main.*remove the entry",
        ),
        (
            {"_attn_implementation": {"": "owner/kernel:fast"}},
            "computed by owner/kernel:fast, which is code on the Hub",
        ),
        ({"vision": [{"experts_implementation": "owner/kernel"}]}, "computed by owner/kernel"),
    ],
)
def test_code_is_found_wherever_a_config_may_hide_it(field: dict, message: str, checkpoint: Path) -> None:
    content = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (checkpoint / "config.json").write_text(json.dumps(content | field), encoding="utf-8")
    with pytest.raises(PretrainedError, match=message):
        load_config(checkpoint)


def test_an_adapter_is_refused_with_the_way_out(checkpoint: Path) -> None:
    (checkpoint / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}', encoding="utf-8")
    with pytest.raises(PretrainedError, match=r"adapter_config\.json.*merge"):
        load_classifier(checkpoint)


def test_a_file_and_a_broken_description_are_named(checkpoint: Path) -> None:
    with pytest.raises(PretrainedError, match="is a file; give the folder"):
        load_classifier(checkpoint / "model.safetensors")
    (checkpoint / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(PretrainedError, match=r"has a config\.json that cannot be read"):
        load_config(checkpoint)
    (checkpoint / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(PretrainedError, match=r"has a config\.json that maps no names to values"):
        load_config(checkpoint)


@pytest.mark.parametrize(
    "field", [{"id2label": 3}, {"num_labels": "x"}, {"quantization_config": {"quant_method": "gptq"}}]
)
def test_a_description_that_nobody_writes_is_refused(field: dict[str, Any], checkpoint: Path) -> None:
    content = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (checkpoint / "config.json").write_text(json.dumps(content | field), encoding="utf-8")
    with pytest.raises(PretrainedError):
        load_classifier(checkpoint)


def test_missing_weights_are_not_replaced_by_random_ones(tmp_path: Path) -> None:
    tiny_vit().vit.save_pretrained(tmp_path / "body")
    with pytest.raises(PretrainedError, match=r"lacks weights.*classifier"):
        load_classifier(tmp_path / "body")
    assert load_for_new_head(tmp_path / "body", num_labels=7).config.num_labels == 7
