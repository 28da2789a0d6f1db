"""One training step against float64, accumulation against one big batch, and what an attack leaves behind."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import reference
from tests.recording import MicroBatch, RecordingTrainer
from tests.tiny import CHECKPOINTING, CLASSES, MEAN, STD, TinyImages, channels, tiny_model, tiny_trainer, tiny_vit

EPSILON, STEPS, TOTAL = 8 / 255, 3, 4


def record(output_dir: Path, model: nn.Module, **config: Any) -> RecordingTrainer:
    """Train with the attack that starts at the image, whose every step an independent path can follow."""
    settings = {"attack_random_start": False, "max_grad_norm": 0.0, "learning_rate": 1e-2, "attack_steps": STEPS}
    trainer = tiny_trainer(output_dir, model=model, trainer_class=RecordingTrainer, **(settings | config))
    trainer.train()
    return trainer


def state(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def fail_in_eval_mode(module: nn.Module, _: Any) -> None:
    if not module.training:
        raise RuntimeError("the attack failed")


def largest_difference(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(state(first).values(), state(second).values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


class TestAgainstFloat64:
    """The third of four steps, where teacher and student have parted and both annealed values are inside."""

    @pytest.mark.parametrize(
        ("method", "norm", "epsilon"),
        [("adsr", "Linf", EPSILON), ("adsr", "L2", 0.5), ("pgd_at", "Linf", EPSILON), ("clean", "Linf", EPSILON)],
    )
    def test_images_loss_and_all_gradients(self, tmp_path: Path, method: str, norm: str, epsilon: float) -> None:
        smoothing = 0.0 if method == "adsr" else 0.1
        trainer = record(
            tmp_path,
            tiny_vit().double(),
            max_steps=TOTAL,
            method=method,
            norm=norm,
            epsilon=epsilon,
            label_smoothing_factor=smoothing,
        )
        done = trainer.micro_batches[2]
        assert done.step == 2
        student = done.student.double().eval()
        images = done.inputs["pixel_values"].double()
        targets = self.targets(method, done, images, smoothing)
        mean, std = channels(MEAN).double(), channels(STD).double()
        seen = done.seen.double()
        expected = images
        if method != "clean":
            adversarial = reference.pgd(
                lambda pixels: student(pixel_values=(pixels - mean) / std).logits,
                images * std + mean,
                targets,
                norm=norm,
                epsilon=epsilon,
                steps=STEPS,
                step_size=2.5 * epsilon / STEPS,
            )
            expected = (adversarial - mean) / std
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)
        assert (seen - images).abs().max() > 0.01 or method == "clean"

        loss, expected_gradients = reference.loss_and_gradients(student, seen, targets)
        assert done.loss == pytest.approx(loss, rel=1e-6)
        self.assert_gradients_agree(trainer.gradients[2], expected_gradients)

    def test_float32_training_agrees_too(self, tmp_path: Path) -> None:
        trainer = record(tmp_path, tiny_vit(), max_steps=TOTAL)
        done = trainer.micro_batches[2]
        targets = self.targets("adsr", done, done.inputs["pixel_values"].double(), 0.0)
        loss, expected = reference.loss_and_gradients(done.student.double(), done.seen.double(), targets)
        assert done.loss == pytest.approx(loss, rel=1e-6)
        largest = max(gradient.abs().max() for gradient in expected.values())
        for name, gradient in trainer.gradients[2].items():
            assert (gradient.double() - expected[name]).abs().max() < 1e-6 * largest

    def targets(self, method: str, done: MicroBatch, images: Tensor, smoothing: float) -> Tensor:
        labels = done.inputs["labels"]
        if method != "adsr":
            return torch.eye(CLASSES).double()[labels] * (1 - smoothing) + smoothing / CLASSES
        assert done.teacher is not None
        assert largest_difference(done.teacher, done.student) > 1e-3
        with torch.no_grad():
            teacher_logits = done.teacher.double()(pixel_values=images).logits
        temperature = reference.half_cosine(2.0, 1.0, done.step, TOTAL)
        interpolation = reference.half_cosine(0.7, 0.95, done.step, TOTAL)
        return reference.rectified(teacher_logits, labels, temperature, interpolation)

    def assert_gradients_agree(self, found: dict[str, Any], expected: dict[str, Tensor]) -> None:
        """Each tensor relative to its own largest entry; a key's bias has a gradient of zero, exactly."""
        assert found.keys() == expected.keys()
        largest = max(gradient.abs().max() for gradient in expected.values())
        for name, gradient in expected.items():
            scale = gradient.abs().max()
            assert scale > 1e-6 * largest or name.endswith("k_proj.bias")
            assert (found[name] - gradient).abs().max() <= 1e-6 * max(scale, 1e-6 * largest)


class TestAccumulation:
    @pytest.mark.parametrize("method", ["adsr", "pgd_at"])
    @pytest.mark.parametrize(("size", "count"), [(8, 2), (4, 4)])
    def test_micro_batches_equal_one_big_batch(self, tmp_path: Path, method: str, size: int, count: int) -> None:
        """20 images, so that the second step of each epoch has a batch of 4 alone. Plain descent: Adam divides by
        gradients that are zero but for rounding."""
        settings = {"method": method, "optim": "sgd", "learning_rate": 0.1, "train_dataset": TinyImages(20)}
        settings |= {"max_steps": 4, "max_grad_norm": 1.0}
        big = record(tmp_path / "big", tiny_vit(), per_device_train_batch_size=16, **settings)
        small = record(
            tmp_path / "small",
            tiny_vit(),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=count,
            **settings,
        )
        assert len(small.micro_batches) == 2 * (count + 4 // size if size == 4 else count + 1)
        assert len(big.micro_batches) == 4
        assert largest_difference(big.model, tiny_vit()) > 1e-3
        assert largest_difference(big.model, small.model) < 1e-6
        if method == "adsr":
            assert largest_difference(big.teacher.model, small.teacher.model) < 1e-6
        for whole, parts in zip(big.state.log_history[:4], small.state.log_history[:4], strict=True):
            assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-5)
            assert whole["attack_success"] == pytest.approx(parts["attack_success"], rel=1e-5)

    def test_images_of_unequal_micro_batches_count_alike(self, tmp_path: Path) -> None:
        """Micro-batches of 6, 6 and 4: a mean of their means would weigh the last four images too much."""
        settings = {"optim": "sgd", "learning_rate": 0.1, "train_dataset": TinyImages(16), "max_steps": 2}
        big = record(tmp_path / "big", tiny_vit(), per_device_train_batch_size=16, **settings)
        small = record(
            tmp_path / "small", tiny_vit(), per_device_train_batch_size=6, gradient_accumulation_steps=3, **settings
        )
        assert len(small.micro_batches) == 6
        assert largest_difference(big.model, tiny_vit()) > 1e-3
        assert largest_difference(big.model, small.model) < 1e-6
        assert big.state.log_history[0]["loss"] == pytest.approx(small.state.log_history[0]["loss"], rel=1e-5)

    def test_teacher_moves_once_for_each_optimizer_step(self, tmp_path: Path) -> None:
        decay = 0.8
        trainer = record(
            tmp_path, tiny_vit(), gradient_accumulation_steps=3, max_steps=4, teacher_decay=decay, train_dataset=None
        )
        assert len(trainer.micro_batches) > len(trainer.students) == 4
        expected = {name: value.double() for name, value in state(tiny_vit()).items()}
        for student in trainer.students:
            expected = {name: decay * expected[name] + (1 - decay) * value for name, value in state(student).items()}
        for name, value in state(trainer.teacher.model).items():
            torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-5, atol=1e-7)

    def test_schedule_counts_optimizer_steps(self, tmp_path: Path) -> None:
        trainer = record(tmp_path, tiny_vit(), gradient_accumulation_steps=2, max_steps=4)
        for step, line in enumerate(trainer.state.log_history[:4]):
            assert line["temperature"] == pytest.approx(reference.half_cosine(2.0, 1.0, step, 4), rel=1e-6)
            assert line["interpolation"] == pytest.approx(reference.half_cosine(0.7, 0.95, step, 4), rel=1e-6)


def test_radius_grows_over_its_epochs_and_is_logged(tmp_path: Path) -> None:
    """4 steps an epoch: full radius after 8 · 0.5 = 4 steps, by quarters."""
    trainer = record(tmp_path, tiny_vit(), max_steps=8, epsilon_ramp_epochs=1.0, method="pgd_at")
    expected = [EPSILON * share for share in (0.25, 0.5, 0.75, 1, 1, 1, 1, 1)]
    assert [line["epsilon"] for line in trainer.state.log_history[:8]] == pytest.approx(expected, rel=1e-5)
    for done, radius in zip(trainer.micro_batches, expected, strict=True):
        moved = ((done.seen - done.inputs["pixel_values"]) * channels(STD)).abs().max().item()
        assert moved == pytest.approx(radius, rel=1e-4)


class TestNoTrace:
    def test_gradients_mid_accumulation_are_bit_identical_after_the_attack(self, tmp_path: Path) -> None:
        trainer = record(tmp_path, tiny_vit(), gradient_accumulation_steps=2, max_steps=2)
        later = [done for index, done in enumerate(trainer.micro_batches) if index % 2 == 1]
        assert len(later) == 2
        for done in later:
            assert done.gradients_after.keys() == done.gradients_before.keys()
            assert sum(gradient.abs().sum() for gradient in done.gradients_before.values()) > 0
            for name, gradient in done.gradients_before.items():
                assert torch.equal(done.gradients_after[name], gradient)

    def test_frozen_parameters_stay_frozen_and_the_others_learn(self, tmp_path: Path) -> None:
        model = tiny_vit()
        model.vit.embeddings.requires_grad_(False)
        trainer = record(tmp_path, model, max_steps=2)
        flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        assert flags == {name: not name.startswith("vit.embeddings") for name in flags}
        for name, start in state(tiny_vit()).items():
            moved = not torch.equal(state(trainer.model)[name], start)
            assert moved == (not name.startswith("vit.embeddings")), name

    def test_modes_and_flags_after_a_failed_attack(self, tmp_path: Path) -> None:
        model = tiny_vit().train()
        model.vit.embeddings.requires_grad_(False)
        model.classifier.eval()
        modes = {name: module.training for name, module in model.named_modules()}
        flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        trainer = tiny_trainer(tmp_path, model=model, method="pgd_at")
        model.register_forward_pre_hook(fail_in_eval_mode)
        with pytest.raises(RuntimeError, match="the attack failed"):
            trainer.compute_loss(model, TinyImages(4).batch())
        assert {name: module.training for name, module in model.named_modules()} == modes
        assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags

    @pytest.mark.parametrize(("mode", "updates_per_step"), [("eval", 1), ("train", 1 + STEPS)])
    def test_batch_statistics(self, tmp_path: Path, mode: str, updates_per_step: int) -> None:
        trainer = record(tmp_path, tiny_model("resnet"), attack_mode=mode, max_steps=2)
        counters = [value for name, value in state(trainer.model).items() if name.endswith("num_batches_tracked")]
        assert counters
        assert {counter.item() for counter in counters} == {2 * updates_per_step}

    def test_statistics_in_eval_mode_are_those_of_the_training_forward_alone(self, tmp_path: Path) -> None:
        trainer = record(tmp_path, tiny_model("resnet"), max_steps=1)
        expected = tiny_model("resnet").train()
        expected(pixel_values=trainer.micro_batches[0].seen)
        for (name, value), other in zip(trainer.model.named_buffers(), expected.buffers(), strict=True):
            assert torch.equal(value, other), name


class TestOtherWaysToCompute:
    @pytest.mark.parametrize("family", ["vit", "swin"])
    def test_activation_checkpointing_changes_nothing(self, tmp_path: Path, family: str) -> None:
        plain = record(tmp_path / "plain", tiny_model(family))
        model = tiny_model(family)
        checkpointed = record(tmp_path / "checkpointed", model, **{CHECKPOINTING: True})
        assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        assert largest_difference(plain.model, checkpointed.model) < 1e-6

    @pytest.mark.parametrize("precision", ["float32", "bf16"])
    def test_bfloat16_autocast(self, tmp_path: Path, precision: str) -> None:
        plain = record(tmp_path / "plain", tiny_vit())
        mixed = record(tmp_path / "mixed", tiny_vit(), bf16=True, attack_precision=precision)
        assert mixed.micro_batches[0].loss != plain.micro_batches[0].loss
        for rounded, exact in zip(mixed.micro_batches, plain.micro_batches, strict=True):
            assert rounded.loss == pytest.approx(exact.loss, rel=0.02)
        for model in (mixed.model, mixed.teacher.model):
            assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        assert mixed.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=0.05)

    def test_attack_on_a_bfloat16_copy_follows_the_student(self, tmp_path: Path) -> None:
        """A single step moves along the signs of the present student's gradient, not of the one before."""
        settings = {"method": "pgd_at", "attack_precision": "bf16", "attack_steps": 1}
        trainer = record(tmp_path, tiny_vit(), max_steps=TOTAL, learning_rate=0.2, **settings)
        for before, done in itertools.pairwise(trainer.micro_batches):
            moved = (done.seen - done.inputs["pixel_values"]).sign()
            present, past = (
                (self.signs(batch.student, done.inputs) == moved).double().mean() for batch in (done, before)
            )
            assert present > 0.95
            assert past < 0.8
        assert trainer.state.log_history[-2]["zero_gradient_share"] < 0.05

    def signs(self, student: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        pixel_values = inputs["pixel_values"].double().requires_grad_(True)
        targets = torch.eye(CLASSES).double()[inputs["labels"]]
        loss = reference.cross_entropies(student.double().eval()(pixel_values=pixel_values).logits, targets).sum()
        return torch.autograd.grad(loss, pixel_values)[0].sign()


def test_model_init_starts_every_run_anew(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, model_init=lambda: tiny_vit(), learning_rate=1e-2)
    trainer.train()
    first = copy.deepcopy(trainer.model), copy.deepcopy(trainer.teacher.model)
    trainer.train()
    assert trainer.model is not first[0]
    assert largest_difference(trainer.model, first[0]) == 0
    assert largest_difference(trainer.teacher.model, first[1]) == 0
    assert largest_difference(trainer.model, tiny_vit()) > 1e-3


def test_teacher_learns_with_the_student(tmp_path: Path) -> None:
    """It is far better than chance on held-out images after 60 steps, for student and teacher, clean and attacked."""
    trainer = tiny_trainer(
        tmp_path,
        train_dataset=TinyImages(64),
        eval_dataset=TinyImages(32, seed=1),
        per_device_train_batch_size=16,
        max_steps=60,
        learning_rate=1e-2,
        epsilon="4/255",
        logging_steps=60,
    )
    trainer.train()
    found = trainer.evaluate()
    for name in ("accuracy", "robust_accuracy", "teacher_accuracy", "teacher_robust_accuracy"):
        assert found[f"eval_{name}"] > 0.6, name
