"""Recipes for data and checkpoints that are not at hand: all are read and checked, and trained on stand-ins."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from adsr_hf.runs.recipe import Recipe, load_recipe
from adsr_hf.runs.train import train_recipe

ROOT = Path(__file__).parents[2]
FOLDERS = ("cifar10", "cifar100", "tiny_imagenet", "imagenet", "inspection")
PUBLISHED = sorted(path for folder in FOLDERS for path in (ROOT / "recipes" / folder).glob("*.yaml"))
CLASSES = ("ant", "bee", "cow")
# Trainer refuses bf16 without a GPU that has it, unless the CPU is asked for.
ON_CPU = ["--use_cpu", "true"]

# Wu, Wang & Chen, ICLR 2024: temperatures, interpolations, radius of the weights' perturbation, epochs.
PAPER: dict[str, tuple[tuple[float, ...], tuple[float, ...], float | None, int]] = {
    "cifar10/resnet18_adsr": ((2.5, 2.0), (0.70, 0.95), None, 200),
    "cifar10/resnet18_adsr_wa": ((2.5, 2.0), (0.70, 0.95), None, 200),
    "cifar10/resnet18_adsr_trades": ((2.5, 2.0), (0.70, 0.95), None, 200),
    "cifar10/resnet18_adsr_wa_awp": ((2.5, 1.5), (0.70, 0.85), 0.005, 200),
    "cifar10/preact_resnet18_adsr_wa_awp_extra": ((2.5, 1.5), (0.70, 0.85), 0.005, 100),
    "cifar100/resnet18_adsr": ((1.5, 1.0), (0.70, 0.95), None, 200),
    "cifar100/resnet18_adsr_wa": ((1.5, 1.0), (0.70, 0.95), None, 200),
    "cifar100/resnet18_adsr_wa_awp": ((2.0, 1.0), (0.70, 0.85), 0.005, 200),
    "cifar100/preact_resnet18_adsr_wa_awp_extra": ((3.0, 1.5), (0.50, 0.80), 0.005, 100),
    "tiny_imagenet/resnet18_adsr": ((2.0, 1.5), (0.50, 0.90), None, 80),
    "tiny_imagenet/resnet18_adsr_wa": ((2.0, 1.5), (0.50, 0.90), None, 80),
    "tiny_imagenet/resnet18_adsr_wa_awp": ((2.0, 1.5), (0.50, 0.90), 0.001, 80),
}


def name_of(recipe: Path) -> str:
    return f"{recipe.parent.name}/{recipe.stem}"


every_recipe = pytest.mark.parametrize("recipe", PUBLISHED, ids=name_of)


@every_recipe
def test_recipe_is_valid_and_is_what_its_name_says(recipe: Path) -> None:
    described = load_recipe(recipe, ON_CPU)
    words = recipe.stem.split("_")
    config = described.config
    assert config.rectifies == ("adsr" in words)
    assert (config.settled_objective == "trades") == ("trades" in words)
    assert (config.settled_objective == "ikl") == ("ikl" in words)
    assert (config.settled_objective == "clean") == ("clean" in words)
    assert (config.weight_perturbation == "layerwise_sam") == ("awp" in words)
    if {"resnet18", "resnet34"} & set(words):
        assert (config.publish == "teacher") == ("wa" in words)
        assert described.model.model_type == "adsr_cifar_resnet"
    else:
        # Loads without this package, as README promises.
        assert described.model.model_type != "adsr_cifar_resnet"
    assert (described.data.extra_dataset is not None) == ("extra" in words)


ROBUST = [path for path in (ROOT / "recipes").glob("*/*.yaml") if re.search("_(adsr|pgd_at|trades)", path.stem)]


@pytest.mark.parametrize("folder", sorted({path.parent for path in ROBUST}), ids=lambda path: path.name)
def test_a_folder_with_robust_recipes_has_their_clean_baselines(folder: Path) -> None:
    robust = [path for path in ROBUST if path.parent == folder]
    networks = {re.split("_(?:adsr|pgd_at|trades)", path.stem)[0] for path in robust}
    # An arm with images of its own has no baseline of the same network.
    clean = {path.stem.removesuffix("_clean"): path for path in folder.glob("*_clean.yaml")}
    assert networks - {"preact_resnet18"} == clean.keys()
    for network, path in clean.items():
        config = load_recipe(path, ON_CPU).config
        assert not config.attacks
        if config.load_best_model_at_end:
            assert config.metric_for_best_model == ("teacher_" if config.publish == "teacher" else "") + "accuracy"
        pairs = [other for other in robust if other.stem.startswith(f"{network}_")]
        assert _compared(path) in [_compared(pair) for pair in pairs]


def _compared(recipe: Path) -> list[Any]:
    """What two runs that are compared have in common."""
    settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    names = ("norm", "epsilon", "dataset", "test_split", "validation_fraction", "image_size", "model_type", "model")
    return [settings.get(name) for name in (*names, "model_config", "num_train_epochs", "learning_rate")]


@every_recipe
def test_comment_names_the_command_and_where_its_time_comes_from(recipe: Path) -> None:
    lines = recipe.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line[1:].strip() for line in lines if line.startswith("#"))
    assert f"train recipes/{name_of(recipe)}.yaml" in comment
    assert "Estimate, not measured" in comment or "Measured" in comment
    assert max(map(len, lines)) <= 119


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_presets(name: str) -> None:
    temperatures, interpolations, radius, epochs = PAPER[name]
    config = load_recipe(ROOT / "recipes" / f"{name}.yaml", ON_CPU).config
    assert (config.temperature_start, config.temperature_end) == temperatures
    assert (config.interpolation_start, config.interpolation_end) == interpolations
    if radius is not None:
        assert config.weight_perturbation_radius == radius
    assert config.num_train_epochs == epochs
    assert config.teacher_decay == 0.995
    assert config.attack_at(epoch=0).num_steps == 10
    assert config.attack_at(epoch=0).resolved_step_size == pytest.approx(2 / 255)
    assert config.epsilon == pytest.approx(8 / 255)
    if "extra" in name:
        assert (config.learning_rate, config.lr_scheduler_type.value) == (0.4, "cosine")
        assert config.warmup_steps * epochs == pytest.approx(2.5)
    else:
        assert config.learning_rate == 0.1
        assert [share * epochs for share in config.learning_rate_drops] == [epochs / 2, 3 * epochs / 4]
        assert config.per_device_train_batch_size == 128
    assert config.weight_decay == 5e-4


def test_the_preset_of_ikl() -> None:
    """Cui et al., NeurIPS 2024, and the script behind their figure."""
    described = load_recipe(ROOT / "recipes" / "cifar10" / "wide_resnet34_10_ikl_wa.yaml", ON_CPU)
    config = described.config
    assert (config.method, config.ikl_alpha, config.ikl_beta, config.ikl_temperature) == ("ikl", 20.0, 4.0, 4.0)
    assert (config.num_train_epochs, config.per_device_train_batch_size, config.learning_rate) == (200, 128, 0.2)
    assert (config.weight_perturbation, config.weight_perturbation_radius) == ("awp", 0.005)
    first, last = (config.attack_at(epoch=0, ramp=ramp) for ramp in (0.5, 1.0))
    assert (first.num_steps, last.num_steps) == (5, 5)
    assert first.threat.epsilon == pytest.approx(4 / 255)
    assert last.threat.epsilon == pytest.approx(8 / 255)
    for attack in (first, last):
        assert attack.resolved_step_size == pytest.approx(attack.threat.epsilon / 2)
        assert attack.start_deviation == 0.001


# ---- stand-ins ------------------------------------------------------------------------------------------------------


def noise(seed: int, side: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))


def stand_in_data(folder: Path, recipe: dict[str, Any], side: int, *splits: str) -> str:
    """Parquet files with the columns that the recipe's own data set has."""
    label = recipe.get("label_column", "label")
    features = Features({"picture": ImageFeature(), label: ClassLabel(names=list(CLASSES))})
    folder.mkdir()
    for split in splits:
        rows = range(12 if split == "train" else 6)
        images = [noise(len(folder.name) * 1000 + len(split) * 100 + row, side) for row in rows]
        table = Dataset.from_dict({"picture": images, label: [row % 3 for row in rows]}, features=features)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def stand_in_checkpoint(folder: Path) -> str:
    """A ViT of two thin layers, with the patches and image size of those on the Hub."""
    config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=10)
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
    return str(folder)


def thin(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe's network with fewer channels."""
    own = recipe.get("model_config", {})
    if recipe["model_type"] == "vit":
        return own | {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
    return own | {"hidden_sizes": [4 * 2**stage for stage in range(len(own.get("depths", [2, 2, 2, 2])))]}


def on_stand_ins(path: Path, folder: Path, *, whole_network: bool = False) -> Recipe:
    """The recipe with data, checkpoint and length replaced, and every other setting kept."""
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    side = recipe.get("image_size", 224)
    flags = {
        "output_dir": folder / "run",
        "dataset": stand_in_data(folder / "own", recipe, side, "train", recipe.get("test_split", "test")),
        "num_train_epochs": 1,
        "epsilon_ramp_epochs": min(recipe.get("epsilon_ramp_epochs", 0), 1),
        "weight_perturbation_warmup_epochs": min(recipe.get("weight_perturbation_warmup_epochs", 0), 0.5),
        "validation_fraction": 0.3,
        "per_device_train_batch_size": 4,
        "dataloader_num_workers": 0,
        "max_steps": 2,
        "disable_tqdm": True,
    }
    if recipe["eval_strategy"] == "steps":
        flags |= {"eval_steps": 1, "save_steps": 1}
    if "extra_dataset" in recipe:
        flags["extra_dataset"] = stand_in_data(folder / "extra", recipe, side, "train")
    if "model" in recipe:
        flags["model"] = stand_in_checkpoint(folder / "checkpoint")
    elif not whole_network:
        flags["model_config"] = json.dumps(thin(recipe))
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return load_recipe(path, [*ON_CPU, *words])


def check_run(described: Recipe, folder: Path) -> None:
    run = train_recipe(described.config, described.data, described.model)
    record = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    assert run.trainer.state.global_step == 2
    assert record["training"]["train_loss"] > 0
    prefix = "test_teacher_" if described.config.evaluate_weights == "teacher" else "test_"
    assert 0 <= record["test"][f"{prefix}robust_accuracy"] <= record["test"][f"{prefix}accuracy"] <= 1
    assert (folder / "run" / "model.safetensors").is_file()
    images = [entry["epsilon"] for entry in record["log_history"] if "epsilon" in entry]
    assert all(0 < epsilon <= float(described.config.epsilon) * (1 + 1e-6) for epsilon in images)


QUICK = [
    "cifar10/resnet18_adsr_wa_awp",
    "cifar10/preact_resnet18_adsr_wa_awp_extra",
    "cifar10/wide_resnet34_10_ikl_wa",
    "cifar100/vit_small_adsr",
]


@pytest.mark.parametrize("name", QUICK)
def test_trains_for_two_steps_on_stand_ins(name: str, tmp_path: Path) -> None:
    check_run(on_stand_ins(ROOT / "recipes" / f"{name}.yaml", tmp_path), tmp_path)


@pytest.mark.slow
def test_a_checkpoint_of_an_inspection_recipe_loads_without_this_package(tmp_path: Path) -> None:
    described = on_stand_ins(ROOT / "recipes" / "inspection" / "small_resnet_pgd_at.yaml", tmp_path)
    run = train_recipe(described.config, described.data, described.model)
    images = torch.rand(2, 3, 64, 64)
    torch.save(images, tmp_path / "images.pt")
    code = """
import sys, torch
from transformers import AutoImageProcessor, AutoModelForImageClassification
folder, images, logits = sys.argv[1:]
AutoImageProcessor.from_pretrained(folder)
model = AutoModelForImageClassification.from_pretrained(folder).eval()
torch.save(model(torch.load(images)).logits.detach(), logits)
assert not any(name.startswith("adsr_hf") for name in sys.modules)
"""
    words = [str(tmp_path / "run"), str(tmp_path / "images.pt"), str(tmp_path / "logits.pt")]
    subprocess.run([sys.executable, "-c", code, *words], check=True, timeout=120, cwd=tmp_path)
    with torch.no_grad():
        expected = run.trainer.published_model().eval()(pixel_values=images).logits
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [path for path in PUBLISHED if name_of(path) not in QUICK], ids=name_of)
def test_every_other_recipe_too(recipe: Path, tmp_path: Path) -> None:
    check_run(on_stand_ins(recipe, tmp_path), tmp_path)


@pytest.mark.slow
def test_the_whole_resnet_18_too(tmp_path: Path) -> None:
    path = ROOT / "recipes" / "cifar10" / "resnet18_adsr_wa_awp.yaml"
    check_run(on_stand_ins(path, tmp_path, whole_network=True), tmp_path)
