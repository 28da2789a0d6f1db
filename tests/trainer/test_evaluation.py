"""evaluate() and predict(): figures recomputed from the networks' own outputs, and nothing else touched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from adsr_hf import ADSRTrainer
from tests.tiny import CLASSES, MEAN, STD, TinyImages, channels, tiny_trainer, tiny_vit

EPSILON = 8 / 255
NAMES = ("accuracy", "ece", "mean_confidence", "loss")
STUDENT = {f"eval_{kind}{name}" for kind in ("", "robust_") for name in NAMES}
TEACHER = {f"eval_teacher_{kind}{name}" for kind in ("", "robust_") for name in NAMES}


def calibration_error(probabilities: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Guo et al. 2017, equation 3, by loops."""
    confidence = probabilities.max(1)
    total = 0.0
    for lower in range(bins):
        inside = (confidence > lower / bins) & (confidence <= (lower + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def figures(logits: np.ndarray, clean_logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """An image that is wrong when clean is not attacked: it counts with its clean logits."""
    logits = np.where((clean_logits.argmax(1) == labels)[:, None], logits, clean_logits)
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    right = logits.argmax(1) == labels
    return {
        "accuracy": right.mean(),
        "ece": calibration_error(probabilities, right),
        "mean_confidence": probabilities.max(1).mean(),
        "loss": -np.log(probabilities[np.arange(len(labels)), labels]).mean(),
    }


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ADSRTrainer:
    """A student that has learnt and a teacher that is behind it; 25 images are left for evaluation."""
    trainer = tiny_trainer(
        tmp_path_factory.mktemp("run"),
        train_dataset=TinyImages(64),
        eval_dataset=TinyImages(25, seed=1),
        per_device_train_batch_size=16,
        max_steps=40,
        learning_rate=1e-2,
        epsilon="6/255",
        logging_steps=40,
    )
    trainer.train()
    return trainer


class TestFigures:
    def test_names(self, trained: ADSRTrainer) -> None:
        assert set(trained.evaluate()) >= STUDENT | TEACHER

    def test_equal_an_independent_computation(self, trained: ADSRTrainer) -> None:
        """The first call of a network on a batch is the clean one, the last that on the attacked images."""
        images = trained.eval_dataset
        calls: dict[str, list[tuple[Tensor, Tensor]]] = {"": [], "teacher_": []}
        networks = {"": trained.model, "teacher_": trained.teacher.model}
        hooks = [
            network.register_forward_hook(
                lambda _, __, inputs, output, seen=calls[name]: (
                    # Trainer's own forward has the labels.
                    seen.append((inputs["pixel_values"].detach().clone(), output.logits.detach().clone()))
                    if "labels" not in inputs
                    else None
                ),
                with_kwargs=True,
            )
            for name, network in networks.items()
        ]
        try:
            found = trained.evaluate()
        finally:
            for hook in hooks:
                hook.remove()
        labels = images.labels.numpy()
        for name, seen in calls.items():
            clean, attacked, adversarial = self.clean_and_attacked(seen, images)
            for kind, logits in (("", clean), ("robust_", attacked)):
                for figure, value in figures(logits, clean, labels).items():
                    assert found[f"eval_{name}{kind}{figure}"] == pytest.approx(value, rel=1e-5, abs=1e-7)
            moved = (adversarial - images.pixel_values) * channels(STD)
            assert 0.9 * 6 / 255 < moved.abs().max() <= 6 / 255 + 1e-6
            pixels = adversarial * channels(STD) + channels(MEAN)
            assert pixels.min() >= -1e-6
            assert pixels.max() <= 1 + 1e-6
        assert (
            found["eval_accuracy"] != found["eval_teacher_accuracy"] or found["eval_ece"] != found["eval_teacher_ece"]
        )

    def clean_and_attacked(
        self, calls: list[tuple[Tensor, Tensor]], images: TinyImages
    ) -> tuple[np.ndarray, np.ndarray, Tensor]:
        starts, at = [], 0
        for index, (seen, _) in enumerate(calls):
            rows = images.pixel_values[at : at + len(seen)]
            if len(rows) == len(seen) and torch.equal(seen, rows):
                starts.append(index)
                at += len(seen)
        assert at == len(images)
        ends = [*(start - 1 for start in starts[1:]), len(calls) - 1]
        clean = torch.cat([calls[start][1] for start in starts])
        attacked = torch.cat([calls[end][1] for end in ends])
        return clean.double().numpy(), attacked.double().numpy(), torch.cat([calls[end][0] for end in ends])

    def test_clean_figures_do_not_depend_on_the_batch_size(self, trained: ADSRTrainer, tmp_path: Path) -> None:
        seven, all_at_once = (
            tiny_trainer(
                tmp_path / str(size),
                model=trained.model,
                eval_dataset=trained.eval_dataset,
                per_device_eval_batch_size=size,
            ).evaluate()
            for size in (7, 64)
        )
        for name in NAMES:
            assert seven[f"eval_{name}"] == pytest.approx(all_at_once[f"eval_{name}"], rel=1e-5)

    def test_an_attack_of_no_size_changes_nothing_and_a_large_one_everything(
        self, trained: ADSRTrainer, tmp_path: Path
    ) -> None:
        none, large = (
            tiny_trainer(
                tmp_path / method,
                model=trained.model,
                eval_dataset=trained.eval_dataset,
                method=method,
                epsilon=epsilon,
                eval_attack_steps=20,
            ).evaluate()
            for method, epsilon in (("clean", 0), ("pgd_at", 0.45))
        )
        for name in NAMES:
            assert none[f"eval_robust_{name}"] == pytest.approx(none[f"eval_{name}"], rel=1e-6)
        assert none["eval_accuracy"] > 0.7
        assert large["eval_robust_accuracy"] <= 0.1

    def test_no_attack_steps_leave_robust_figures_out(self, tmp_path: Path) -> None:
        found = tiny_trainer(tmp_path, eval_attack_steps=0).evaluate()
        assert {f"eval_{name}" for name in NAMES} <= set(found)
        assert not [name for name in found if "robust" in name]

    @pytest.mark.parametrize(
        ("measured", "present", "absent"),
        [
            ("student", STUDENT, TEACHER),
            ("teacher", TEACHER, STUDENT - {"eval_loss"}),
            ("both", STUDENT | TEACHER, set()),
        ],
    )
    def test_which_weights_are_measured(
        self, tmp_path: Path, measured: str, present: set[str], absent: set[str]
    ) -> None:
        trainer = tiny_trainer(tmp_path, evaluate_weights=measured, max_steps=1, eval_strategy="steps", eval_steps=1)
        trainer.train()
        names = {name for line in trainer.state.log_history for name in line if name.startswith("eval_")}
        assert present <= names
        assert not absent & names

    def test_several_evaluation_sets(self, tmp_path: Path) -> None:
        sets = {"near": TinyImages(8, seed=1), "far": TinyImages(8, seed=2, noise=0.5)}
        found = tiny_trainer(tmp_path, eval_dataset=sets, evaluate_weights="student").evaluate()
        assert {"eval_near_robust_accuracy", "eval_far_robust_ece"} <= set(found)

    def test_the_loop_takes_its_arguments_in_order_or_by_name(self, trained: ADSRTrainer) -> None:
        loader = trained.get_eval_dataloader()
        in_order = trained.evaluation_loop(loader, "Evaluation", None, None, "mine").metrics
        by_name = trained.evaluation_loop(loader, description="Evaluation", metric_key_prefix="mine").metrics
        assert in_order == by_name
        assert in_order is not None
        assert in_order["mine_robust_accuracy"] == trained.evaluate()["eval_robust_accuracy"]


class TestNothingElseChanges:
    def test_twice_gives_the_same(self, trained: ADSRTrainer) -> None:
        first, second = trained.evaluate(), trained.evaluate()
        timeless = STUDENT | TEACHER
        assert {name: first[name] for name in timeless} == {name: second[name] for name in timeless}

    def test_training_goes_on_as_if_nobody_had_evaluated(self, tmp_path: Path) -> None:
        """With dropout, random starts and two epochs: everything that draws a random number afterwards."""
        settings = {"max_steps": 8, "logging_steps": 8}
        model, other = (tiny_vit(hidden_dropout_prob=0.2) for _ in range(2))
        quiet = tiny_trainer(tmp_path / "quiet", model=model, **settings)
        quiet.train()
        measured = tiny_trainer(tmp_path / "measured", model=other, eval_strategy="steps", eval_steps=1, **settings)
        measured.evaluate()
        measured.train()
        assert len([line for line in measured.state.log_history if "eval_loss" in line]) >= 8
        assert same(weights(quiet.model), weights(measured.model))
        assert same(quiet.teacher.state_dict(), measured.teacher.state_dict())

    def test_weights_gradients_and_flags_stay(self, trained: ADSRTrainer) -> None:
        trained.model.classifier.weight.requires_grad_(False)
        before = weights(trained.model), weights(trained.teacher.model)
        gradients = {name: p.grad for name, p in trained.model.named_parameters()}
        trained.evaluate()
        assert same(before[0], weights(trained.model))
        assert same(before[1], weights(trained.teacher.model))
        assert all(p.grad is gradients[name] for name, p in trained.model.named_parameters())
        assert not trained.model.classifier.weight.requires_grad
        assert all(p.requires_grad for name, p in trained.model.named_parameters() if name != "classifier.weight")
        trained.model.classifier.weight.requires_grad_(True)


class WithoutLabels(Dataset):
    def __init__(self) -> None:
        self.images = TinyImages(10)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": self.images[index]["pixel_values"]}


class TestUsersOwnMetrics:
    def shapes(self, prediction: Any) -> dict[str, float]:
        self.predictions, self.labels = prediction.predictions, prediction.label_ids
        return {"mine": float(np.mean(np.asarray(prediction.predictions).argmax(-1) == prediction.label_ids))}

    def expected(self, trainer: ADSRTrainer, images: TinyImages) -> np.ndarray:
        with torch.no_grad():
            return trainer.model.eval()(pixel_values=images.pixel_values).logits.numpy()

    @pytest.mark.parametrize("way", ["evaluate", "predict"])
    def test_they_see_plain_logits(self, tmp_path: Path, way: str) -> None:
        images = TinyImages(21, seed=1)
        trainer = tiny_trainer(tmp_path, compute_metrics=self.shapes)
        trainer.train()
        if way == "evaluate":
            found, prefix = trainer.evaluate(images), "eval_"
        else:
            found, prefix = trainer.predict(images).metrics, "test_"
        assert isinstance(self.predictions, np.ndarray)
        assert self.predictions.shape == (21, CLASSES)
        np.testing.assert_allclose(self.predictions, self.expected(trainer, images), atol=1e-6)
        np.testing.assert_array_equal(self.labels, images.labels)
        assert f"{prefix}mine" in found
        if way == "evaluate":
            assert found["eval_mine"] == found["eval_accuracy"]
            assert set(found) >= STUDENT | TEACHER

    @pytest.mark.parametrize("way", ["evaluate", "predict"])
    def test_their_view_of_the_logits(self, tmp_path: Path, way: str) -> None:
        """preprocess_logits_for_metrics, as memory-conscious scripts have it."""
        seen = []

        def metrics(prediction: Any) -> dict[str, float]:
            seen.append(prediction.predictions)
            return {"mine": float((prediction.predictions == prediction.label_ids).mean())}

        trainer = tiny_trainer(
            tmp_path, compute_metrics=metrics, preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1)
        )
        images = TinyImages(21, seed=1)
        found = trainer.evaluate(images) if way == "evaluate" else trainer.predict(images).metrics
        np.testing.assert_array_equal(seen[0], self.expected(trainer, images).argmax(-1))
        if way == "evaluate":
            assert found["eval_mine"] == found["eval_accuracy"]

    def test_theirs_win_where_names_agree(self, tmp_path: Path) -> None:
        trainer = tiny_trainer(tmp_path, compute_metrics=lambda _: {"accuracy": 0.125})
        assert trainer.evaluate()["eval_accuracy"] == 0.125

    def test_predict_without_metrics_or_labels(self, tmp_path: Path) -> None:
        trainer, images = tiny_trainer(tmp_path), WithoutLabels()
        output = trainer.predict(images)
        np.testing.assert_allclose(output.predictions, self.expected(trainer, images.images), atol=1e-6)
        assert output.label_ids is None
        assert not [name for name in output.metrics if "accuracy" in name]

    def test_predicting_leaves_evaluation_as_it_was(self, trained: ADSRTrainer) -> None:
        before = trained.evaluate()
        trained.predict(trained.eval_dataset)
        after = trained.evaluate()
        assert {name: before[name] for name in STUDENT | TEACHER} == {name: after[name] for name in STUDENT | TEACHER}
