"""Whatever plain Trainer computes, ADSRTrainer computes too: both are run side by side and compared to the last bit.

The behaviours are those that transformers' own tests of Trainer ask of it.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import ImageClassifierOutput

from adsr_hf import ADSRConfig, ADSRTrainer
from tests.tiny import CLASSES, TinyImages, tiny_model, tiny_processor, tiny_vit

TIMES = ("runtime", "per_second", "preparation_time")
COMMON: dict[str, Any] = {
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "logging_steps": 1,
    "save_strategy": "no",
    "learning_rate": 1e-2,
    "max_steps": 4,
}


def name_of(parameter: Any) -> str:
    """The same in every worker process, which ``str`` of a function, an address, is not."""
    if isinstance(parameter, dict):
        return ",".join(f"{key}={name_of(value)}" for key, value in parameter.items()) or "as-is"
    return getattr(parameter, "__name__", str(parameter))


def pair(
    folder: Path,
    *,
    model: Any = tiny_vit,
    bases: tuple[type, ...] = (),
    method: str = "clean",
    given: dict[str, Any] | None = None,
    **config: Any,
) -> tuple[Trainer, ADSRTrainer]:
    """The same script with Trainer and with ADSRTrainer; ``bases`` are mixed into both, as a user's subclass would."""
    built = []
    for kind, arguments, own in (
        (Trainer, TrainingArguments, {}),
        (ADSRTrainer, ADSRConfig, {"method": method, "attack_steps": 1, "eval_attack_steps": 1}),
    ):
        images = {"train_dataset": TinyImages(30), "eval_dataset": TinyImages(21, seed=1)}
        args = arguments(output_dir=str(folder / kind.__name__), **(COMMON | own | config))
        subclass = type(kind.__name__, (*bases, kind), {})
        # Callbacks and metrics with a memory are made anew for each.
        extra = {
            name: value() if name in ("callbacks", "compute_metrics") else value
            for name, value in (given or {}).items()
        }
        built.append(subclass(model=model(), args=args, processing_class=tiny_processor(), **(images | extra)))
    return built[0], built[1]


def timeless(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if not any(time in name for time in TIMES)}


def assert_shared(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Every figure of Trainer's is there with its value."""
    theirs, ours = timeless(theirs), timeless(ours)
    assert theirs.keys() <= ours.keys()
    # NaN equals NaN here: older transformers let a loss that is not finite into the mean.
    np.testing.assert_equal({name: ours[name] for name in theirs}, theirs)


def assert_equal(theirs: Any, ours: Any) -> None:
    """The same containers, types and numbers."""
    assert type(theirs) is type(ours)
    if isinstance(theirs, list | tuple):
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours, strict=True):
            assert_equal(one, other)
    elif isinstance(theirs, Tensor):
        assert torch.equal(theirs, ours)
    else:
        np.testing.assert_array_equal(theirs, ours)


def assert_same_weights(theirs: nn.Module, ours: nn.Module) -> None:
    for (name, one), other in zip(theirs.state_dict().items(), ours.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


class Noted:
    """A user's compute_metrics that remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def __call__(self, prediction: Any, compute_result: bool = True) -> dict[str, float]:
        self.seen.append((prediction.predictions, prediction.label_ids, prediction.inputs, prediction.losses))
        return {"calls": float(len(self.seen)), "last": float(compute_result)}


def hidden_states() -> nn.Module:
    return tiny_vit(output_hidden_states=True)


class TestEvaluation:
    @pytest.mark.parametrize(
        ("model", "method", "given", "config"),
        [
            (tiny_vit, "clean", {}, {}),
            (tiny_vit, "adsr", {}, {}),
            (tiny_vit, "clean", {}, {"label_smoothing_factor": 0.1}),
            (tiny_vit, "pgd_at", {}, {"label_smoothing_factor": 0.1}),
            (tiny_vit, "clean", {}, {"include_for_metrics": ["loss", "inputs"]}),
            (hidden_states, "clean", {}, {}),
            (tiny_vit, "clean", {"preprocess_logits_for_metrics": lambda logits, labels: logits.argmax(-1)}, {}),
            (tiny_vit, "clean", {}, {"batch_eval_metrics": True, "include_for_metrics": ["loss"]}),
            (tiny_vit, "clean", {}, {"eval_do_concat_batches": False}),
            (tiny_vit, "clean", {}, {"eval_accumulation_steps": 2}),
            (tiny_vit, "clean", {}, {"prediction_loss_only": True}),
            (tiny_vit, "clean", {}, {"label_names": []}),
            (tiny_vit, "clean", {}, {"eval_use_gather_object": True}),
        ],
        ids=name_of,
    )
    def test_figures_and_what_compute_metrics_sees(
        self, tmp_path: Path, model: Any, method: str, given: dict[str, Any], config: dict[str, Any]
    ) -> None:
        both = pair(tmp_path, model=model, method=method, given={"compute_metrics": Noted} | given, **config)
        theirs, ours = both
        for evaluate in ("evaluate", "predict"):
            figures = []
            for trainer in both:
                found = trainer.evaluate() if evaluate == "evaluate" else trainer.predict(trainer.eval_dataset)
                figures.append(found if evaluate == "evaluate" else found.metrics)
            assert_shared(*figures)
            assert ("eval_robust_accuracy" in figures[1]) == (evaluate == "evaluate")
            if evaluate == "predict":
                assert timeless(figures[0]).keys() == timeless(figures[1]).keys()
        assert bool(theirs.compute_metrics.seen) == (
            not config.get("prediction_loss_only") and config.get("label_names") != []
        )
        assert_equal(theirs.compute_metrics.seen, ours.compute_metrics.seen)

    def test_predictions(self, tmp_path: Path) -> None:
        theirs, ours = (trainer.predict(trainer.eval_dataset) for trainer in pair(tmp_path, model=hidden_states))
        assert isinstance(ours.predictions, tuple)
        assert_equal(theirs.predictions, ours.predictions)
        assert_equal(theirs.label_ids, ours.label_ids)

    def test_several_sets(self, tmp_path: Path) -> None:
        sets = {"near": TinyImages(9, seed=1), "far": TinyImages(8, seed=2, noise=0.5)}
        theirs, ours = pair(tmp_path, given={"eval_dataset": sets, "compute_metrics": Noted})
        assert_shared(theirs.evaluate(), ours.evaluate())

    def test_a_stream(self, tmp_path: Path) -> None:
        theirs, ours = pair(tmp_path, given={"eval_dataset": Stream(), "compute_metrics": Noted})
        figures = ours.evaluate()
        assert_shared(theirs.evaluate(), figures)
        assert figures["eval_images"] == 21

    def test_a_loss_that_is_not_finite_counts_as_in_trainer(self, tmp_path: Path) -> None:
        class Sometimes(Trainer):
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
                loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
                loss = loss if len(inputs["labels"]) == 8 else loss * torch.nan
                return (loss, outputs) if return_outputs else loss

        theirs, ours = pair(tmp_path, bases=(Sometimes,))
        found = ours.evaluate()
        assert_shared(theirs.evaluate(), found)
        assert np.isfinite(found["eval_accuracy"])


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        images = TinyImages(21, seed=1)
        return (images[index] for index in range(len(images)))


class PredictsInside(TrainerCallback):
    """Predicts while an evaluation is being reported, and evaluates once more."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.trainer: Any = None
        self.inside = False

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.inside:
            self.inside = True
            self.found.append(self.trainer.predict(TinyImages(5, seed=3)).predictions)
            self.found.append(self.trainer.evaluate(TinyImages(5, seed=3), metric_key_prefix="inner"))


class OwnStep(Trainer):
    """A user's prediction_step that never asks Trainer's."""

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        with torch.no_grad():
            logits = model(pixel_values=inputs["pixel_values"]).logits
        return torch.tensor(0.25), logits * 2, inputs.pop("labels")


class OwnLoss(Trainer):
    """A user's compute_loss: three times the sum over the batch, as a share of the optimizer step."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(pixel_values=inputs["pixel_values"])
        loss = 3 * nn.functional.cross_entropy(outputs.logits, inputs["labels"], reduction="sum")
        loss = loss / (len(inputs["labels"]) if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class OwnTrainingStep(Trainer):
    """A user's training_step that never asks Trainer's."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        model.train()
        loss = nn.functional.cross_entropy(model(pixel_values=inputs["pixel_values"]).logits, inputs["labels"])
        self.accelerator.backward(loss)
        return loss.detach()


class TestSubclassesAndCallbacks:
    def test_predicting_inside_an_evaluation(self, tmp_path: Path) -> None:
        both = pair(tmp_path, given={"callbacks": lambda: [PredictsInside()]})
        watchers = []
        for trainer in both:
            watcher = next(one for one in trainer.callback_handler.callbacks if isinstance(one, PredictsInside))
            watcher.trainer = trainer
            trainer.evaluate()
            watchers.append(watcher)
        theirs, ours = watchers
        assert ours.found[0].shape == (5, CLASSES)
        assert_equal(theirs.found[0], ours.found[0])
        assert_shared(theirs.found[1], ours.found[1])
        assert "inner_robust_accuracy" in ours.found[1]

    def test_an_overridden_prediction_step(self, tmp_path: Path) -> None:
        theirs, ours = pair(tmp_path, bases=(OwnStep,), given={"compute_metrics": Noted})
        found = ours.evaluate()
        assert_shared(theirs.evaluate(), found)
        assert found["eval_loss"] == 0.25
        assert "eval_robust_accuracy" in found
        assert_equal(theirs.compute_metrics.seen, ours.compute_metrics.seen)

    @pytest.mark.parametrize("family", ["vit", "convnext"])
    @pytest.mark.parametrize("accumulation", [1, 3])
    def test_an_overridden_loss(self, tmp_path: Path, family: str, accumulation: int) -> None:
        """Trainer counts images for models that take any argument, as ViT does, and none for ConvNext."""
        both = pair(
            tmp_path, model=lambda: tiny_model(family), bases=(OwnLoss,), gradient_accumulation_steps=accumulation
        )
        for trainer in both:
            trainer.train()
        theirs, ours = both
        assert_same_weights(theirs.model, ours.model)
        assert theirs.state.log_history[0]["loss"] == ours.state.log_history[0]["loss"]
        assert_shared(theirs.evaluate(), ours.evaluate())

    @pytest.mark.parametrize("config", [{"method": "pgd_at"}, {"method": "adsr"}, {"mixup": 0.8}], ids=str)
    @pytest.mark.parametrize("base", [OwnLoss, OwnTrainingStep])
    def test_a_method_that_is_passed_over_is_no_method(
        self, tmp_path: Path, base: type, config: dict[str, Any]
    ) -> None:
        """It would train without any attack, and be published as adversarially trained."""
        given = {"method": "pgd_at"} | config
        trainer = type("Own", (base, ADSRTrainer), {})(
            model=tiny_vit(),
            args=ADSRConfig(output_dir=str(tmp_path), attack_steps=1, **(COMMON | given)),
            train_dataset=TinyImages(30),
            processing_class=tiny_processor(),
        )
        with pytest.raises(ValueError, match=r"Own overrides compute_loss or training_step.*super\(\)\.compute_loss"):
            trainer.train()
        assert trainer.state.global_step == 0

    def test_a_loss_that_adds_to_the_methods_is_taken(self, tmp_path: Path) -> None:
        class Penalised(ADSRTrainer):
            def compute_loss(self, model: Any, *given: Any, **named: Any) -> Any:
                return super().compute_loss(model, *given, **named) + 1e-3 * model.classifier.weight.square().sum()

        config = ADSRConfig(output_dir=str(tmp_path), method="pgd_at", attack_steps=1, **COMMON)
        trainer = Penalised(tiny_vit(), config, train_dataset=TinyImages(30), processing_class=tiny_processor())
        assert trainer.train().global_step == 4

    def test_a_loader_without_a_data_set(self, tmp_path: Path) -> None:
        class Bare:
            """Batches, and how many: all that Trainer asks of a loader."""

            def __init__(self, images: Any) -> None:
                self.loader = DataLoader(images, batch_size=8)

            def __iter__(self) -> Any:
                return iter(self.loader)

            def __len__(self) -> int:
                return len(self.loader)

        class OwnLoaders(Trainer):
            def get_train_dataloader(self) -> Any:
                return Bare(self.train_dataset)

            def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
                return Bare(self.eval_dataset)

        both = pair(tmp_path, bases=(OwnLoaders,))
        for trainer in both:
            trainer.train()
        theirs, ours = both
        assert_same_weights(theirs.model, ours.model)
        assert_shared(theirs.evaluate(), ours.evaluate())

    @pytest.mark.parametrize("method", ["clean", "pgd_at", "adsr"])
    def test_steps_before_training(self, tmp_path: Path, method: str) -> None:
        theirs, ours = pair(tmp_path, method=method)
        batch = TinyImages(8).batch()
        ours.model.train()
        assert torch.isfinite(ours.compute_loss(ours.model, dict(batch)))
        assert torch.isfinite(ours.training_step(ours.model, dict(batch)))
        assert all(parameter.grad is not None for parameter in ours.model.parameters())
        assert_equal(
            *(trainer.prediction_step(trainer.model.eval(), dict(batch), False) for trainer in (theirs, ours))
        )
        ours.train()
        assert ours.state.global_step == 4


class TestTraining:
    @pytest.mark.parametrize(
        ("family", "config"),
        [
            ("vit", {}),
            ("vit", {"gradient_accumulation_steps": 3}),
            ("convnext", {"gradient_accumulation_steps": 3}),
            ("vit", {"label_smoothing_factor": 0.1}),
            ("resnet", {"weight_decay": 0.1, "max_grad_norm": 0.5, "optim": "sgd"}),
            ("vit", {"eval_on_start": True, "eval_strategy": "steps", "eval_steps": 2}),
            ("vit", {"bf16": True}),
        ],
        ids=name_of,
    )
    def test_clean_training_is_trainers_to_the_last_bit(
        self, tmp_path: Path, family: str, config: dict[str, Any]
    ) -> None:
        both = pair(tmp_path, model=lambda: tiny_model(family), **config)
        for trainer in both:
            trainer.train()
        theirs, ours = both
        assert_same_weights(theirs.model, ours.model)
        for one, other in zip(theirs.state.log_history[:-1], ours.state.log_history[:-1], strict=True):
            assert_shared(one, other)

    @pytest.mark.parametrize(
        ("family", "model"),
        [("vit", {}), ("beit", {"drop_path_rate": 0.0}), ("swin", {"drop_path_rate": 0.0}), ("convnext", {})],
    )
    def test_micro_batches_equal_one_big_batch(self, tmp_path: Path, family: str, model: dict[str, Any]) -> None:
        """BEiT and others take num_items_in_batch and do not divide by it, so that Trainer's own loss would double."""
        logs, weights = [], []
        for size, count in ((16, 1), (8, 2)):
            trainer = pair(
                tmp_path / str(size),
                model=lambda: tiny_model(family, **model),
                given={"train_dataset": TinyImages(32)},
                per_device_train_batch_size=size,
                gradient_accumulation_steps=count,
                optim="sgd",
                learning_rate=0.1,
            )[1]
            trainer.train()
            logs.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
            weights.append(dict(trainer.model.named_parameters()))
        assert logs[1] == pytest.approx(logs[0], rel=1e-5)
        for name, expected in weights[0].items():
            torch.testing.assert_close(weights[1][name], expected, rtol=0, atol=1e-6)

    def test_an_optimizer_of_the_users_own(self, tmp_path: Path) -> None:
        def optimizers(model: nn.Module) -> Any:
            groups = [
                {"params": [p for name, p in model.named_parameters() if "classifier" in name], "lr": 0.1},
                {"params": [p for name, p in model.named_parameters() if "classifier" not in name], "lr": 0.01},
            ]
            optimizer = torch.optim.SGD(groups)
            return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)

        weights = []
        for trainer in pair(tmp_path):
            trainer.optimizer, trainer.lr_scheduler = optimizers(trainer.model)
            trainer.train()
            weights.append(trainer.model)
        assert_same_weights(*weights)

    def test_early_stopping_and_the_best_weights(self, tmp_path: Path) -> None:
        both = pair(
            tmp_path,
            given={"callbacks": lambda: [EarlyStoppingCallback(2)]},
            max_steps=12,
            learning_rate=0.3,
            optim="sgd",
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            save_total_limit=3,
            load_best_model_at_end=True,
            metric_for_best_model="loss",
        )
        for trainer in both:
            trainer.train()
        theirs, ours = both
        assert ours.state.global_step == theirs.state.global_step < 12
        assert ours.state.best_global_step == theirs.state.best_global_step
        assert ours.state.best_metric == theirs.state.best_metric

    def test_a_stream(self, tmp_path: Path) -> None:
        both = pair(tmp_path, given={"train_dataset": Stream()})
        for trainer in both:
            trainer.train()
        assert_same_weights(*(trainer.model for trainer in both))


class WithBalance(nn.Module):
    """A classifier whose own loss has a second term, and whose output is a plain dict."""

    def __init__(self, model: nn.Module, weight: float, *, in_training_alone: bool = False) -> None:
        super().__init__()
        self.inner, self.weight, self.config = model, weight, model.config
        self.in_training_alone = in_training_alone

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.inner(pixel_values=pixel_values).logits
        if labels is None:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits, labels)
        weight = 0.0 if self.in_training_alone and not self.training else self.weight
        return {"loss": loss + weight * logits.square().mean(), "logits": logits}


class WithoutLoss(nn.Module):
    """A classifier that leaves the loss to others."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_vit()
        self.config = self.inner.config

    def forward(self, pixel_values: Tensor) -> ImageClassifierOutput:
        return ImageClassifierOutput(logits=self.inner(pixel_values=pixel_values).logits)


class TestLossesOfTheModelsOwn:
    def test_clean_training_keeps_it(self, tmp_path: Path) -> None:
        both = pair(tmp_path, model=lambda: WithBalance(tiny_vit(), 0.5))
        plain = pair(tmp_path / "plain", model=lambda: WithBalance(tiny_vit(), 0.0))[1]
        for trainer in (*both, plain):
            trainer.train()
        theirs, ours = both
        assert_same_weights(theirs.model, ours.model)
        assert not torch.equal(ours.model.inner.classifier.weight, plain.model.inner.classifier.weight)
        assert_shared(theirs.evaluate(), ours.evaluate())

    @pytest.mark.parametrize("method", ["pgd_at", "trades", "adsr"])
    @pytest.mark.parametrize("in_training_alone", [True, False])
    def test_a_method_with_a_loss_of_its_own_refuses_to_drop_it(
        self, tmp_path: Path, method: str, in_training_alone: bool
    ) -> None:
        def model() -> nn.Module:
            return WithBalance(tiny_vit(hidden_dropout_prob=0.3), 0.5, in_training_alone=in_training_alone)

        trainer = pair(tmp_path, model=model, method=method)[1]
        with pytest.raises(
            ValueError, match=r"has a loss of its own, \+0\.\d+ beside the cross-entropy.*compute_loss"
        ):
            trainer.train()

    def test_looking_for_it_leaves_no_trace(self, tmp_path: Path) -> None:
        trainer = pair(tmp_path, model=lambda: tiny_model("resnet"), method="pgd_at")[1]
        trainer.run.set_up(trainer.model)
        trainer.model.train()
        before, random = copy.deepcopy(trainer.model.state_dict()), torch.get_rng_state()
        trainer.run._step_loss.refuse_extra(trainer.model, TinyImages(8).batch(), takes_count=False)
        assert_equal(list(before.values()), list(trainer.model.state_dict().values()))
        assert torch.equal(torch.get_rng_state(), random)
        assert all(module.training for module in trainer.model.modules())

    def test_one_that_is_the_cross_entropy_is_none(self, tmp_path: Path) -> None:
        trainer = pair(tmp_path, model=lambda: WithBalance(tiny_vit(), 0.0), method="adsr")[1]
        assert trainer.train().global_step == 4

    @pytest.mark.parametrize("method", ["clean", "adsr"])
    def test_a_model_without_any_is_trained_and_measured_by_the_cross_entropy(
        self, tmp_path: Path, method: str
    ) -> None:
        trainer = pair(tmp_path, model=WithoutLoss, method=method)[1]
        trainer.train()
        images = trainer.eval_dataset
        with torch.no_grad():
            logits = trainer.model.eval()(images.pixel_values).logits
        expected = nn.functional.cross_entropy(logits, images.labels).item()
        assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)
