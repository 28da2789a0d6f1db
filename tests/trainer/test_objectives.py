"""TRADES, MART, IKL, weight perturbation and mixing, each a real training step against float64 written anew."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adsr_hf.method.mixing import mix_batch
from adsr_hf.method.weight_perturbation import WeightPerturbation
from tests import reference
from tests.recording import MicroBatch, RecordingTrainer
from tests.tiny import CLASSES, MEAN, STD, TinyImages, channels, position_of, tiny_processor, tiny_trainer, tiny_vit

EPSILON, STEPS, TOTAL = 8 / 255, 3, 4


def record(output_dir: Path, model: nn.Module, **config: Any) -> RecordingTrainer:
    settings = {"max_grad_norm": 0.0, "learning_rate": 1e-2, "attack_steps": STEPS, "max_steps": TOTAL}
    trainer = tiny_trainer(output_dir, model=model, trainer_class=RecordingTrainer, **(settings | config))
    trainer.train()
    return trainer


def halves(done: MicroBatch) -> tuple[Tensor, Tensor]:
    clean, adversarial = done.seen.double().chunk(2)
    return clean, adversarial


def targets_of(done: MicroBatch, labels: str) -> Tensor:
    one_hot = torch.eye(CLASSES).double()[done.inputs["labels"]]
    if labels == "onehot":
        return one_hot
    if labels == "label_smoothing":
        return 0.9 * one_hot + 0.1 / CLASSES
    assert done.teacher is not None
    with torch.no_grad():
        logits = done.teacher.double()(pixel_values=done.inputs["pixel_values"].double()).logits
    temperature = reference.half_cosine(2.0, 1.0, done.step, TOTAL)
    interpolation = reference.half_cosine(0.7, 0.95, done.step, TOTAL)
    return reference.rectified(logits, done.inputs["labels"], temperature, interpolation)


def trades_loss(student: nn.Module, clean: Tensor, adversarial: Tensor, targets: Tensor, beta: float) -> Tensor:
    """From the paper's equation 5, image by image."""
    losses = []
    for x, attacked, q in zip(clean, adversarial, targets, strict=True):
        p = reference.log_softmax(student(pixel_values=x[None]).logits)[0]
        other = reference.log_softmax(student(pixel_values=attacked[None]).logits)[0]
        losses.append(-(q * p).sum() + beta * (p.exp() * (p - other)).sum())
    return torch.stack(losses).mean()


def mart_loss(
    student: nn.Module, clean: Tensor, adversarial: Tensor, targets: Tensor, labels: Tensor, beta: float
) -> Tensor:
    """From the paper's equation 11, image by image, with probabilities instead of their logarithms."""
    losses = []
    for x, attacked, q, y in zip(clean, adversarial, targets, labels.tolist(), strict=True):
        p = torch.softmax(student(pixel_values=x[None]).logits[0], 0)
        other = torch.softmax(student(pixel_values=attacked[None]).logits[0], 0)
        wrong = max(value.item() for index, value in enumerate(other) if index != y)
        strongest = next(value for index, value in enumerate(other) if index != y and value.item() == wrong)
        boosted = -(q * other.log()).sum() - (1 - strongest).log()
        losses.append(boosted + beta * (p * (p.log() - other.log())).sum() * (1 - p[y]))
    return torch.stack(losses).mean()


def gradients_of(student: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = dict(student.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def assert_gradients_agree(found: dict[str, Any], expected: dict[str, Tensor]) -> None:
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-6 * max(gradient.abs().max(), 1e-6 * largest), name


@pytest.mark.parametrize("labels", ["onehot", "label_smoothing", "adsr"])
@pytest.mark.parametrize("objective", ["trades", "mart", "ikl"])
def test_a_step_equals_float64(tmp_path: Path, objective: str, labels: str) -> None:
    smoothing = 0.1 if labels == "label_smoothing" else 0.0
    trainer = record(
        tmp_path, tiny_vit().double(), objective=objective, labels=labels, label_smoothing_factor=smoothing
    )
    done = trainer.micro_batches[2]
    clean, adversarial = halves(done)
    torch.testing.assert_close(clean, done.inputs["pixel_values"].double(), rtol=0, atol=1e-12)
    moved = ((adversarial - clean) * channels(STD)).abs().max().item()
    assert EPSILON / 2 < moved <= EPSILON + 1e-6
    student, targets = done.student.double().train(), targets_of(done, labels)
    if objective == "trades":
        loss = trades_loss(student, clean, adversarial, targets, 6.0)
    elif objective == "ikl":
        # In the first epoch all classes weigh the same.
        even = torch.full((CLASSES, CLASSES), 1 / CLASSES).double()
        loss = reference.ikl_loss(student, done.seen.double(), done.inputs["labels"], targets, even, 20.0, 4.0)
    else:
        loss = mart_loss(student, clean, adversarial, targets, done.inputs["labels"], 5.0)
    assert done.loss == pytest.approx(loss.item(), rel=1e-6)
    assert_gradients_agree(trainer.gradients[2], gradients_of(student, loss))


@pytest.mark.parametrize("method", ["trades", "ikl"])
def test_attack_maximises_the_divergence_and_never_sees_the_label(tmp_path: Path, method: str) -> None:
    """From the image's neighbourhood, the same steps along the divergence's own gradient, in float64."""
    model = tiny_vit().double()
    trainer = tiny_trainer(tmp_path, model=model, method=method, attack_steps=STEPS, max_steps=1)
    trainer.train()
    batch = TinyImages(6).batch()
    pixels = batch["pixel_values"] * channels(STD) + channels(MEAN)
    attack = trainer.run.method_step.attack
    start_state = attack.generator.get_state()
    attacked = [
        attack.run(trainer.model, pixels, torch.eye(CLASSES)[labels], {}, position_of(trainer))[0]
        for labels in (batch["labels"], batch["labels"].flip(0))
        if attack.generator.set_state(start_state) is not None
    ]
    assert torch.equal(*attacked)

    attack.generator.set_state(start_state)
    noise = torch.randn(pixels.shape, generator=attack.generator)
    current = (pixels + 0.001 * noise).clamp(0, 1).double()
    mean, std = channels(MEAN).double(), channels(STD).double()
    student = trainer.model.eval()
    clean = reference.log_softmax(student(pixel_values=((pixels - mean) / std)).logits).detach()
    undecided = torch.zeros_like(current, dtype=torch.bool)
    for _ in range(STEPS):
        point = current.clone().requires_grad_(True)
        other = reference.log_softmax(student(pixel_values=(point - mean) / std).logits)
        (gradient,) = torch.autograd.grad((clean.exp() * (clean - other)).sum(), point)
        # Near the image the divergence is a difference of almost equal float32 numbers: rounding decides small signs.
        undecided |= gradient.abs() < 2e-3 * gradient.abs().amax()
        current = current + 2.5 * EPSILON / STEPS * gradient.sign()
        current = torch.minimum(torch.maximum(current, pixels - EPSILON), pixels + EPSILON).clamp(0, 1).detach()
    assert undecided.double().mean() < 0.05
    torch.testing.assert_close(attacked[0].double()[~undecided], current[~undecided], rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["trades", "ikl"])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_comparing_makes_k_plus_2_student_forwards(tmp_path: Path, steps: int, method: str) -> None:
    calls: list[int] = []
    model = tiny_vit()
    trainer = tiny_trainer(tmp_path, model=model, method=method, attack_steps=steps, max_steps=1)
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    trainer.train()
    # The first finds out whether the model has a loss of its own.
    assert len(calls) == 1 + steps + 2


class _Normalised(nn.Module):
    """Batch statistics that activation checkpointing computes a second time in the backward pass."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, pixels: Tensor) -> Tensor:
        if self.checkpointed:
            return checkpoint(self._block, pixels, use_reentrant=False)
        return self._block(pixels)

    def _block(self, pixels: Tensor) -> Tensor:
        return self.norm(self.convolution(pixels)).relu()


class TestWeightPerturbation:
    @pytest.mark.parametrize("kind", ["awp", "layerwise_sam"])
    @pytest.mark.parametrize("objective", ["pgd_at", "trades"])
    def test_gradient_is_that_at_the_perturbed_weights(self, tmp_path: Path, kind: str, objective: str) -> None:
        radius = 0.02
        trainer = record(
            tmp_path,
            tiny_vit().double(),
            objective=objective,
            labels="onehot",
            weight_perturbation=kind,
            weight_perturbation_radius=radius,
        )
        done = trainer.micro_batches[2]
        student, targets = done.student.double().train(), targets_of(done, "onehot")

        def loss_at_present() -> Tensor:
            if objective == "trades":
                return trades_loss(student, *halves(done), targets, 6.0)
            return reference.cross_entropies(student(pixel_values=done.seen.double()).logits, targets).mean()

        gradients = gradients_of(student, loss_at_present())
        with torch.no_grad():
            for name, weight in student.named_parameters():
                length = gradients[name].square().sum().sqrt()
                if (kind == "awp" and weight.ndim < 2) or length == 0:
                    continue
                weight += radius * weight.square().sum().sqrt() * gradients[name] / length
        loss = loss_at_present()
        assert done.loss == pytest.approx(loss.item(), rel=1e-6)
        assert_gradients_agree(trainer.gradients[2], gradients_of(student, loss))

    def test_weights_come_back_bit_for_bit(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path, weight_perturbation="awp", max_steps=1, learning_rate=0.0, method="pgd_at")
        trainer.train()
        for (name, found), expected in zip(trainer.model.named_parameters(), tiny_vit().parameters(), strict=True):
            assert torch.equal(found, expected), name

    def test_weights_come_back_after_an_error(self) -> None:
        model = tiny_vit()
        before = {name: value.clone() for name, value in model.named_parameters()}
        perturbation = WeightPerturbation(model, radius=0.1)
        values = TinyImages(4).batch()["pixel_values"]
        perturbation.perturb(lambda network: network(pixel_values=values).logits.square().mean())
        assert any(not torch.equal(value, before[name]) for name, value in model.named_parameters())
        with pytest.raises(RuntimeError, match="perturbed already"):
            perturbation.perturb(lambda network: network(pixel_values=values).logits.square().mean())
        perturbation.restore()
        assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())

    @pytest.mark.parametrize("fails", [False, True])
    @pytest.mark.parametrize("checkpointed", [False, True])
    def test_batch_statistics_and_gradients_are_untouched(self, checkpointed: bool, fails: bool) -> None:
        model = _Normalised(checkpointed).train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        perturbation = WeightPerturbation(model, radius=0.1)

        def loss_of(network: Callable[..., Tensor]) -> Tensor:
            loss = network(pixels=TinyImages(4).pixels).square().mean()
            return loss.detach() if fails else loss

        with pytest.raises(RuntimeError, match="does not require grad") if fails else nullcontext():
            perturbation.perturb(loss_of)
        moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert moved == (set() if fails else {"convolution.weight"})
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_warm_up_is_one_of_epochs(self, tmp_path: Path) -> None:
        """4 steps an epoch: the first four steps are those of a run without, the fifth is not."""
        settings = {"method": "pgd_at", "max_steps": 5, "optim": "sgd", "learning_rate": 0.1}
        plain = record(tmp_path / "plain", tiny_vit(), **settings)
        late = record(
            tmp_path / "late",
            tiny_vit(),
            weight_perturbation="awp",
            weight_perturbation_warmup_epochs=1.0,
            **settings,
        )
        losses = [[batch.loss for batch in trainer.micro_batches] for trainer in (plain, late)]
        assert losses[0][:4] == losses[1][:4]
        assert losses[1][4] > losses[0][4]

    def test_a_model_without_matrices_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no trained tensor of two or more dimensions in BatchNorm1d"):
            WeightPerturbation(nn.BatchNorm1d(3), radius=0.1)


class TestMixing:
    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_rectified_targets_are_mixed_and_the_mixture_is_attacked(self, tmp_path: Path, kind: str) -> None:
        trainer = record(tmp_path, tiny_vit().double(), attack_random_start=False, **{kind: 1.0})
        done = trainer.micro_batches[2]
        rectified = targets_of(done, "adsr")
        generator = torch.Generator().manual_seed(0)
        # The draws of the first two steps come before.
        seeds = [int(torch.randint(2**62, (1,), generator=generator)) for _ in range(3)]
        pixels = done.inputs["pixel_values"].double() * channels(STD) + channels(MEAN)
        mixed = mix_batch(
            pixels,
            rectified,
            mixup=float(kind == "mixup"),
            cutmix=float(kind == "cutmix"),
            generator=np.random.default_rng(seeds[2]),
        )
        student = done.student.double().eval()
        mean, std = channels(MEAN).double(), channels(STD).double()
        adversarial = reference.pgd(
            lambda points: student(pixel_values=(points - mean) / std).logits,
            mixed.pixels,
            mixed.targets,
            norm="Linf",
            epsilon=EPSILON,
            steps=STEPS,
            step_size=2.5 * EPSILON / STEPS,
        )
        torch.testing.assert_close(done.seen.double(), (adversarial - mean) / std, rtol=0, atol=1e-5)
        loss, expected = reference.loss_and_gradients(student, done.seen.double(), mixed.targets)
        assert done.loss == pytest.approx(loss, rel=1e-6)
        assert_gradients_agree(trainer.gradients[2], expected)


def test_fixed_teacher_rectifies_and_does_not_move(tmp_path: Path) -> None:
    other = tiny_vit(seed=5)
    other.save_pretrained(tmp_path / "teacher")
    tiny_processor().save_pretrained(tmp_path / "teacher")
    trainer = record(tmp_path / "run", tiny_vit().double(), fixed_teacher=str(tmp_path / "teacher"))
    assert trainer.teacher is None
    done = trainer.micro_batches[2]
    done.teacher = other
    loss, expected = reference.loss_and_gradients(done.student.double(), done.seen.double(), targets_of(done, "adsr"))
    assert done.loss == pytest.approx(loss, rel=1e-6)
    assert_gradients_agree(trainer.gradients[2], expected)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"image_mean": [0.5] * 3}, r"expects images under PixelSpace\(mean=\(0\.5, 0\.5, 0\.5\)"),
        (None, "cannot be loaded as an image classifier with its image processor"),
    ],
)
def test_fixed_teacher_that_would_see_other_images_is_refused(
    tmp_path: Path, processor: dict[str, Any] | None, message: str
) -> None:
    tiny_vit().save_pretrained(tmp_path / "teacher")
    if processor is not None:
        tiny_processor(**processor).save_pretrained(tmp_path / "teacher")
    trainer = tiny_trainer(tmp_path / "run", fixed_teacher=str(tmp_path / "teacher"))
    with pytest.raises(ValueError, match=message):
        trainer.train()


def test_fixed_teacher_with_other_classes_is_refused(tmp_path: Path) -> None:
    tiny_vit(id2label={0: "a", 1: "b", 2: "c", 3: "d"}).save_pretrained(tmp_path / "teacher")
    tiny_processor().save_pretrained(tmp_path / "teacher")
    trainer = tiny_trainer(tmp_path / "run", fixed_teacher=str(tmp_path / "teacher"))
    with pytest.raises(ValueError, match=r"has the classes \['a', 'b', 'c', 'd'\], the model \['LABEL_0'"):
        trainer.train()


def test_teacher_decay_warms_up(tmp_path: Path) -> None:
    """After step t the average has moved by 1 − (1 + t) / (10 + t)."""
    trainer = record(tmp_path, tiny_vit(), teacher_decay=0.9, teacher_decay_warmup=True)
    expected = {name: value.double() for name, value in tiny_vit().named_parameters()}
    for step, student in enumerate(trainer.students):
        decay = (1 + step) / (10 + step)
        expected = {
            name: decay * expected[name] + (1 - decay) * value.double() for name, value in student.named_parameters()
        }
    for name, value in trainer.teacher.model.named_parameters():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-5, atol=1e-7)


def test_attack_schedule_changes_radius_and_steps(tmp_path: Path) -> None:
    """4 steps an epoch: 1 step at 2/255 in the first, 3 steps at 8/255 after it."""
    calls: list[int] = []
    model = tiny_vit()
    trainer = tiny_trainer(
        tmp_path,
        model=model,
        method="pgd_at",
        max_steps=8,
        attack_steps=3,
        attack_schedule={0: {"epsilon": "2/255", "attack_steps": 1}, 1: {"epsilon": "8/255"}},
    )
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    trainer.train()
    logged = [line["epsilon"] * 255 for line in trainer.state.log_history[:8]]
    assert logged == pytest.approx([2] * 4 + [8] * 4, rel=1e-5)
    # One more finds out whether the model has a loss of its own.
    assert len(calls) == 1 + 4 * (1 + 1) + 4 * (3 + 1)


def test_a_scheduled_attack_after_a_run_given_in_steps_is_refused(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, max_steps=6, attack_schedule={0: {"attack_steps": 1}, 2: {"attack_steps": 2}})
    with pytest.raises(ValueError, match=r"an entry at epoch 2, when the run has ended \(max_steps=6, 1\.5 epochs\)"):
        trainer.train()


@pytest.mark.parametrize("name", ["epsilon_ramp_epochs", "weight_perturbation_warmup_epochs"])
def test_what_is_longer_than_a_run_given_in_steps_is_refused(tmp_path: Path, name: str) -> None:
    trainer = tiny_trainer(tmp_path, max_steps=6, weight_perturbation="awp", **{name: 2.0})
    with pytest.raises(
        ValueError, match=rf"{name}=2 is (longer than|as long as) the run \(max_steps=6, 1\.5 epochs\)"
    ):
        trainer.train()
