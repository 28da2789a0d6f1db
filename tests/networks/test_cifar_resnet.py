"""The CIFAR ResNet is the papers' network, and an ordinary Hugging Face model."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForImageClassification

from adsr_hf.attacks import PixelSpace, ThreatModel
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.suite import evaluate
from adsr_hf.networks import CifarResNetConfig, CifarResNetForImageClassification
from adsr_hf.runs.model import load_model, load_processor
from adsr_hf.settings.model import ModelArguments
from tests.tiny import CLASSES, MEAN, SIZE, STD, TinyImages, tiny_trainer

SMALL: dict[str, Any] = {"depths": [1, 2], "hidden_sizes": [8, 12], "strides": [1, 2]}
BLOCKS = ("post_activation", "pre_activation")


def network(*, seed: int = 0, **config: Any) -> CifarResNetForImageClassification:
    torch.manual_seed(seed)
    return CifarResNetForImageClassification(CifarResNetConfig(**({"num_labels": CLASSES} | SMALL | config)))


def with_statistics(model: nn.Module) -> nn.Module:
    """Batch statistics and affine weights that are not those of a new network."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(generator=generator)
    return model


class Reference:
    """ResNet forward in plain functions on a state dictionary, with the papers' 4 × 4 pooling."""

    def __init__(self, model: CifarResNetForImageClassification, *, training: bool) -> None:
        self.state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.config, self.training = model.config, training
        self.act = {"relu": F.relu, "silu": F.silu}[model.config.activation]

    def bn(self, x: Tensor, name: str) -> Tensor:
        mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.batch_norm(x, mean, var, weight, bias, training=self.training, momentum=0.1, eps=1e-5)

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=1 if weight.shape[-1] == 3 else 0)

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        if self.config.block == "pre_activation":
            start = self.act(self.bn(x, f"{name}.bn1"))
            shortcut = self.conv(start, f"{name}.shortcut", stride) if f"{name}.shortcut.weight" in self.state else x
            inner = self.conv(start, f"{name}.conv1", stride)
            return self.conv(self.act(self.bn(inner, f"{name}.bn2")), f"{name}.conv2") + shortcut
        inner = self.act(self.bn(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        inner = self.bn(self.conv(inner, f"{name}.conv2"), f"{name}.bn2")
        if f"{name}.shortcut.0.weight" in self.state:
            x = self.bn(self.conv(x, f"{name}.shortcut.0", stride), f"{name}.shortcut.1")
        return self.act(inner + x)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.conv(x, "stem.0")
        if self.config.block == "post_activation":
            x = self.act(self.bn(x, "stem.1"))
        for stage, (depth, stride) in enumerate(zip(self.config.depths, self.config.strides, strict=True)):
            for index in range(depth):
                x = self.block(x, f"stages.{stage}.{index}", stride if index == 0 else 1)
        if self.config.block == "pre_activation":
            x = self.act(self.bn(x, "final.0"))
        x = F.avg_pool2d(x, x.shape[-1]).flatten(1)
        return F.linear(x, self.state["classifier.weight"], self.state["classifier.bias"])


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("block", "activation"), [(BLOCKS[0], "relu"), (BLOCKS[1], "relu"), (BLOCKS[1], "silu")])
def test_forward_equals_an_independent_one(block: str, activation: str, training: bool) -> None:
    model = with_statistics(network(block=block, activation=activation)).train(training)
    reference = Reference(model, training=training)
    images = torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, reference(images), rtol=1e-5, atol=1e-5)
    for name, tensor in model.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(tensor, reference.state[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("block", "parameters"), [(BLOCKS[0], 11_173_962), (BLOCKS[1], 11_172_170)])
def test_resnet_18_has_the_papers_size_and_forward(block: str, parameters: int) -> None:
    torch.manual_seed(0)
    model = CifarResNetForImageClassification(CifarResNetConfig(block=block, num_labels=10)).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden = model.stem(images)
        shapes = [tuple((hidden := stage(hidden)).shape[1:]) for stage in model.stages]
        assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
        torch.testing.assert_close(model(images).logits, Reference(model, training=False)(images))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_new_network_is_initialised_as_pytorch_does(block: str) -> None:
    model = network(block=block, hidden_sizes=[32, 64])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert module.weight.abs().max() <= bound
            # Of a uniform distribution over (-bound, bound).
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
    assert 0 < model.classifier.bias.abs().max() <= 1 / math.sqrt(64)


@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_reach_every_weight_and_the_image(block: str) -> None:
    model, images = network(block=block), TinyImages(8).pixel_values.clone().requires_grad_()
    model(images, labels=torch.arange(8) % CLASSES).loss.backward()
    assert images.grad is not None
    assert (images.grad != 0).float().mean() > 0.99
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_loss_is_cross_entropy_and_tuples_can_be_asked_for() -> None:
    model, batch = network().eval(), TinyImages(6).batch()
    with torch.no_grad():
        output = model(**batch)
        torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, batch["labels"]))
        loss, logits = model(**batch, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert torch.equal(loss, output.loss)


@pytest.mark.parametrize("side", [9, 16, 40])
def test_images_may_have_any_size(side: int) -> None:
    assert network().eval()(torch.zeros(2, 3, side, side)).logits.shape == (2, CLASSES)


@pytest.mark.parametrize("block", BLOCKS)
def test_saved_and_reloaded_bit_for_bit(tmp_path: Path, block: str) -> None:
    model = with_statistics(network(block=block, activation="silu", id2label=dict(enumerate("abcd")))).eval()
    model.save_pretrained(tmp_path)
    restored, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert type(restored) is CifarResNetForImageClassification
    assert restored.config.id2label == dict(enumerate("abcd"))
    own, theirs = model.state_dict(), restored.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "adsr_cifar_resnet"
    # Which would make transformers look for code beside the weights.
    assert "auto_map" not in written
    assert not list(tmp_path.glob("*.py"))


def test_a_new_head_keeps_the_body(tmp_path: Path) -> None:
    model = with_statistics(network())
    model.save_pretrained(tmp_path)
    restored = AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert restored.classifier.weight.shape == (7, 12)
    for name, tensor in model.stages.state_dict().items():
        assert torch.equal(tensor, restored.stages.state_dict()[name])


@pytest.mark.slow
def test_only_the_import_makes_it_known(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    load = f"transformers.AutoModelForImageClassification.from_pretrained({str(tmp_path)!r}, trust_remote_code=True)"
    refused = subprocess.run(
        [sys.executable, "-c", f"import transformers; {load}"], text=True, stderr=subprocess.PIPE, timeout=120
    )
    assert refused.returncode == 1
    assert "model type `adsr_cifar_resnet` but Transformers does not recognize this architecture" in refused.stderr
    known = f"import adsr_hf.networks, transformers; print(type({load}).__name__)"
    loaded = subprocess.run([sys.executable, "-c", known], text=True, stdout=subprocess.PIPE, timeout=120)
    assert loaded.stdout.strip() == "CifarResNetForImageClassification"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"depths": [2, 2]}, r"depths=\[2, 2\], hidden_sizes=\[64, 128, 256, 512\].*one number for each stage"),
        ({"depths": [], "hidden_sizes": [], "strides": []}, "at least one stage"),
        ({"strides": [1, 0, 2, 2]}, "strides=0 must be a whole number of at least 1"),
        ({"block": "bottleneck"}, "block='bottleneck' is unknown; choose one of 'post_activation', 'pre_activation'"),
        ({"activation": "gelu"}, "activation='gelu' is unknown"),
        ({"num_channels": 0}, "num_channels=0"),
    ],
)
def test_impossible_networks_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CifarResNetConfig(**config)


class TestInTheProduct:
    def arguments(self, **config: Any) -> ModelArguments:
        return ModelArguments(model_type="adsr_cifar_resnet", image_size=32, model_config=SMALL | config)

    def test_from_scratch_by_its_name(self) -> None:
        built = load_model(self.arguments(block="pre_activation"), ["cat", "dog"])
        assert isinstance(built.model, CifarResNetForImageClassification)
        assert built.model.config.id2label == {0: "cat", 1: "dog"}
        assert built.model.config.block == "pre_activation"
        assert built.note == "adsr_cifar_resnet from scratch"

    def test_a_misspelt_field_is_refused(self) -> None:
        with pytest.raises(ValueError, match="does not know: depth;"):
            load_model(self.arguments(depth=[1]), ["cat", "dog"])

    def test_its_processor_maps_pixels_to_minus_one_to_one(self) -> None:
        space = PixelSpace.from_processor(load_processor(self.arguments()))
        ends = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
        torch.testing.assert_close(space.to_pixel_values(ends), 2 * ends - 1)

    @pytest.mark.parametrize("precision", ["float32", "bf16"])
    def test_trains_is_measured_and_published(self, tmp_path: Path, precision: str) -> None:
        trainer = tiny_trainer(
            tmp_path, model=network(), max_steps=2, learning_rate=0.01, publish="teacher", attack_precision=precision
        )
        assert math.isfinite(trainer.train().training_loss)
        figures = trainer.evaluate()
        assert 0 <= figures["eval_teacher_robust_accuracy"] <= figures["eval_teacher_accuracy"] <= 1
        trainer.save_model(str(tmp_path / "published"))
        published = AutoModelForImageClassification.from_pretrained(tmp_path / "published")
        student, teacher = trainer.model.state_dict(), trainer.teacher.model.state_dict()
        assert all(torch.equal(tensor, teacher[name]) for name, tensor in published.state_dict().items())
        # Batch statistics are averaged like weights, and counters copied.
        assert not torch.equal(teacher["stem.1.running_mean"], student["stem.1.running_mean"])
        assert torch.equal(teacher["stem.1.num_batches_tracked"], student["stem.1.num_batches_tracked"])

    def test_evaluation_measures_what_the_network_says(self) -> None:
        model, images = with_statistics(network()).eval(), TinyImages(20)
        plan = Plan([ThreatModel.parse("Linf 8/255")], num_steps=3, batch_size=64)
        records = evaluate(model, images, plan, pixel_space=PixelSpace(MEAN, STD), show_progress=False)
        with torch.no_grad():
            right = (model(images.pixel_values).logits.argmax(1) == images.labels).double().mean().item()
        assert records.figure("accuracy") == pytest.approx(right)
        assert records.figure("Linf 8/255/robust_accuracy") <= right

    def test_the_card_says_what_to_import(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path, model=network(), max_steps=1)
        trainer.train()
        trainer.create_model_card()
        card = (tmp_path / "README.md").read_text()
        assert "transformers does not have CifarResNetForImageClassification; adsr_hf does" in card
        assert "```python\nimport adsr_hf.networks" in card
        assert "adsr_hf is not needed" not in card

    def test_config_class_is_known_by_name(self) -> None:
        assert AutoConfig.for_model("adsr_cifar_resnet").hidden_sizes == [64, 128, 256, 512]
